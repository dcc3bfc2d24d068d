"""A task's life, one file per step, in order: accept, plan, paint, finish, settle."""
