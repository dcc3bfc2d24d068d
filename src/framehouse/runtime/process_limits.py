"""Set limits of a process: open files, malloc arenas and garbage collection."""

import contextlib
import ctypes
import gc
import resource

_M_ARENA_MAX = -8


def raise_file_limit() -> None:
    """Raise the limit on open files to the maximum. Callbacks to slow receivers keep many connections open."""
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
    fragmented. A worker with the default needed twice the memory and was only 10 % faster (`make soak`).
    """
    with contextlib.suppress(OSError, AttributeError):  # the C library is not glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
