"""Set a process's limits on open files and malloc arenas, and reduce the cost of its garbage collection."""

import contextlib
import ctypes
import gc
import resource

_M_ARENA_MAX = -8


def raise_file_limit() -> None:
    """Raise the limit on open files to the hard limit, or to 65,536 if the hard limit is infinite.

    A high limit is needed, because callbacks to slow receivers keep many connections open.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65536, hard))


def open_file_limit() -> int:
    """Return the current limit on open files."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def freeze_loaded_objects() -> None:
    """Exclude all existing objects from garbage collection.

    Otherwise, each full collection scans the loaded modules and pauses all requests for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


def limit_malloc_arenas() -> None:
    """Limit all threads to two shared malloc arenas.

    By default, glibc creates an arena for each thread. Images are finished in many threads, so all arenas become
    fragmented. In a test (`make soak`), a worker with the default number of arenas needed twice as much memory as a
    worker with two arenas. The additional arenas made the worker only 10 % faster.
    """
    with contextlib.suppress(OSError, AttributeError):  # the C library is not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
