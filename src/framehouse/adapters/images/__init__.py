"""Pixels and bytes. Everything here is plain blocking work: callers run it in a thread, off the event loop."""
