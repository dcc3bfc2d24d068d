"""Decode, check, resize, watermark and encode images.

All functions except the methods of `checker.ImageChecker` block the event loop, so call these functions in a thread.
"""
