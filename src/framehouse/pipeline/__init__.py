"""The steps of a task, one module each, in this order: accept, load, generate, finish, save_shot."""
