"""Fuzz: the image gate. Anything may be refused; nothing may break, and what passes the decoder passes the header.

Runs in one process without limits, so that a file that breaks the decoder itself ends the fuzzing and is kept.
"""

import io

from framehouse.adapters.images.decode import check_picture
from framehouse.adapters.images.header import BadImage, inspect
from framehouse.domain.reference import reference_problem

_MOST_MESSAGE_CHARACTERS = 300


def test_one(data: bytes) -> None:
    try:
        header = inspect(io.BytesIO(data), len(data))
    except BadImage as error:
        header = None
        check_message(str(error))
    try:
        decoded = check_picture(data)
    except BadImage as error:
        check_message(str(error))
    else:
        assert header, "the decoder takes what the header does not"
        for width, height in (header, decoded):
            assert reference_problem(width, height) is None, (width, height)


def check_message(message: str) -> None:
    """It goes into an answer: one short line that holds nothing of the file."""
    assert message.isprintable(), message
    assert 0 < len(message) <= _MOST_MESSAGE_CHARACTERS, message
