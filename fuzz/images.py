"""Fuzz: the image gate. Anything may be refused; nothing may break, and what passes the decoder passes the header.

Runs in one process without limits, so that a file that breaks the decoder itself ends the fuzzing and is kept.
"""

import io
import zlib

from framehouse.adapters.images.decode import check_image
from framehouse.adapters.images.header import BadImage, inspect
from framehouse.domain.reference import reference_problem

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_MESSAGE_CHARACTERS = 300


def test_one(data: bytes) -> None:
    check(data)
    if data.startswith(_PNG) and (mended := with_checksums(data)) != data:
        check(mended)


def check(data: bytes) -> None:
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
        assert header, "the decoder takes what the header does not"
        for width, height in (header, decoded):
            assert reference_problem(width, height) is None, (width, height)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks say the right checksum: chance does not find one, and what is wrong behind it would stay
    unseen."""
    mended, at = bytearray(data), len(_PNG)
    while at + 12 <= len(mended):
        end = at + 8 + int.from_bytes(mended[at : at + 4])
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(mended)


def check_message(message: str) -> None:
    """It goes into an answer: one short line that holds nothing of the file."""
    assert message.isprintable(), message
    assert 0 < len(message) <= _MOST_MESSAGE_CHARACTERS, message
