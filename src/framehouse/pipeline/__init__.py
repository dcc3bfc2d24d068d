"""A task's life, one file per step, in order: accept, load, generate, finish, save_shot."""
