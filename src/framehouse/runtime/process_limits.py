"""Limits of a process: open files, malloc arenas, garbage collection."""

import contextlib
import ctypes
import gc
import resource

_M_ARENA_MAX = -8


def raise_file_limit() -> None:
    """Allow as many open files as the system permits: callbacks to slow receivers hold many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))


def open_file_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def freeze_loaded_objects() -> None:
    """Exclude everything that is loaded by now from garbage collection: scanning it paused all requests for tens of
    milliseconds, again and again."""
    gc.collect()
    gc.freeze()


def limit_malloc_arenas() -> None:
    """Let all threads share two malloc arenas. By default glibc gives each thread its own, and images finished on many
    threads fragment all of them: a worker was twice as large, for a tenth less time (`make soak`)."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
