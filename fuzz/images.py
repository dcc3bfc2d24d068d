"""Fuzz the image check. It may refuse any file, but it must not raise another error.

A file that the decoder accepts must also pass the check of the header. The target runs in one process without limits.
Therefore a file that crashes the decoder stops the fuzzing, and is stored. HEIC files are skipped: pi-heif 1.4
crashes on some damaged files, so the server decodes them only in a separate process before an engine opens them.
"""

import io
import zlib

from framehouse.adapters.images.decode import check_image
from framehouse.adapters.reference_files.file_types import image_type
from framehouse.adapters.reference_files.header import BadImage, inspect
from framehouse.domain.reference import reference_problem

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_MESSAGE_CHARACTERS = 300


def test_one(data: bytes) -> None:
    check(data)
    if data.startswith(_PNG) and (with_valid_checksums := set_checksums(data)) != data:
        check(with_valid_checksums)


def check(data: bytes) -> None:
    if image_type(data) == "heic":
        return
    try:
        header = inspect(io.BytesIO(data), len(data))
    except BadImage as error:
        header = None
        check_message(str(error))
    try:
        decoded = check_image(data)
    except BadImage as error:
        check_message(str(error))
    else:
        assert header, "the decoder accepts a file whose header is refused"
        for width, height in (header, decoded):
            assert reference_problem(width, height) is None, (width, height)


def set_checksums(data: bytes) -> bytes:
    """Return the PNG with valid checksums of all chunks.

    Random changes do not produce a valid checksum, so the code behind the checksums would otherwise not be reached.
    """
    png, at = bytearray(data), len(_PNG)
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4])
        if end + 4 > len(png):
            break
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(png)


def check_message(message: str) -> None:
    """The message is part of an answer: it must be one short, printable line."""
    assert message.isprintable(), message
    assert 0 < len(message) <= _MAX_MESSAGE_CHARACTERS, message
