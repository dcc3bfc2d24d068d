"""Decode, check, resize and encode images. Except for `checker`, all functions block: call them in a thread."""
