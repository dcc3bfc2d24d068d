"""Decode, check, resize, watermark and encode images. All functions outside `checker` block: call them in a thread."""
