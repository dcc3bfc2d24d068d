"""Advisory locks of live processes. PostgreSQL releases a lock when the connection of its process ends."""

WORKER_LOCKS = 1718774120
"""The first key of every worker's advisory lock. The second key is the number of the worker."""
