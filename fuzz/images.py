"""Fuzz: the image gate. Anything may be refused; nothing may break, and what passes the decoder passes the header.

Runs in one process without limits, so that a file that breaks the decoder itself ends the fuzzing and is kept.
"""

import io
import sys
from contextlib import suppress

import atheris

with atheris.instrument_imports(
    include=["framehouse", "PIL.PngImagePlugin", "PIL.JpegImagePlugin", "PIL.TiffImagePlugin"]
):
    from framehouse.adapters.images.decode import check_picture
    from framehouse.adapters.images.header import BadImage, inspect


def test_one(data: bytes) -> None:
    with suppress(BadImage):
        inspect(io.BytesIO(data), len(data))
        check_picture(data)


atheris.Setup(sys.argv, test_one)
atheris.Fuzz()
