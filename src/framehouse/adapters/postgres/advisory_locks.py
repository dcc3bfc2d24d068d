"""Advisory locks that live processes hold, so that others see when a connection has died."""

WORKER_LOCKS = 1718774120
"""Class of the locks of workers; the second number is that of the worker."""
