"""How it is done: one home per outside library."""
