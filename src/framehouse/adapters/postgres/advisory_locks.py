"""Advisory locks of live processes. PostgreSQL releases a process's lock when the connection of the process ends."""

WORKER_LOCKS = 1718774120
"""The first key of every worker's advisory lock. The second key is the number of the worker."""
