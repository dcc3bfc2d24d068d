"""The keys of advisory locks. PostgreSQL releases the locks of a process when the connection of the process ends."""

WORKER_LOCKS = 1718774120
"""The first key of every worker's advisory lock. The second key is the number of the worker."""
REQUEST_LOCKS = 1718774121
"""The first key of the lock that a process holds while it counts a request to a route. The second key is a hash of the
model and the route."""
PLACE_LOCKS = 1718774122
"""The first key of the lock that a process holds while it counts the images in flight of an account at an upstream. The
second key is a hash of the account."""
