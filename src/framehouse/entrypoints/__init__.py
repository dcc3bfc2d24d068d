"""Where work comes in: translate, call one step, translate back."""
