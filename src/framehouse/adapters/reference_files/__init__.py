"""Read the image files that clients send, in the same way as browsers.

`header` reads the size and the orientation without decoding pixels. `open_image` decodes the pixels. `clean_file`
removes damaged metadata before the decoding, and `file_types` names files that are not images.
"""
