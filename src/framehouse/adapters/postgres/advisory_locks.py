"""Advisory locks that live processes hold, so that other processes notice when a connection has died."""

WORKER_LOCKS = 1718774120
"""The class of the workers' locks: the first of the two lock numbers. The second is the number of the worker."""
