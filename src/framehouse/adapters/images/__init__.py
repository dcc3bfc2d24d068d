"""Decode, check, resize, watermark and encode images.

The functions of this package block the event loop, so call them in a thread. Only the methods of `checker.ImageChecker`
do not block.
"""
