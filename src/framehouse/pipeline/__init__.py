"""The code that processes tasks.

A task passes through these modules in order: accept, load, generate, finish, save_shot. The other modules handle
references, saved elements, open orders, cancellation, callbacks and expired files.
"""
