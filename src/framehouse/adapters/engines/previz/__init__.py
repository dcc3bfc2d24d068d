"""The built-in engine: draws each shot as a storyboard panel. Offline, no model, and honest about being a preview."""
