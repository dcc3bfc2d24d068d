"""The steps of a task, one module per step, in this order: accept, load, generate, finish, save_shot."""
