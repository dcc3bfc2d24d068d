"""Decode, check, resize, watermark and encode images.

The functions of all modules except `checker` block the event loop, so call these functions in a thread.
"""
