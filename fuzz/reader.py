"""Fuzz the streaming JSON reader. Its result must equal that of a parser which gets the whole body.

An input is a number of chunk sizes, the chunk sizes, and the body. The body is split into chunks of these sizes, which
repeat.
"""

from typing import Any

from framehouse.adapters.images.base64 import NotBase64, decode_base64
from framehouse.adapters.spool import Spool
from framehouse.domain.reference import LongString
from framehouse.entrypoints.api.streaming_json import JsonReader, from_json

LONG_BYTES = 24


def test_one(data: bytes) -> None:
    count = data[0] % 7 if data else 0
    sizes = [1 + byte % 40 for byte in data[1 : 1 + count]] or [7]
    raw = data[1 + count :]
    try:
        whole, is_json = from_json(raw), True
    except ValueError:
        whole, is_json = None, False
    spool = Spool()
    reader = JsonReader(spool, long_bytes=LONG_BYTES)
    try:
        at = number = 0
        while at < len(raw):
            size = sizes[number % len(sizes)]
            reader.feed(raw[at : at + size])
            at, number = at + size, number + 1
        streamed = reader.finish()
    except ValueError:
        assert not is_json, raw
    else:
        assert is_json, raw
        assert equal(streamed, whole), raw
    finally:
        spool.close()


def equal(streamed: Any, whole: Any) -> bool:
    """Return whether the reader's value equals the parsed value. The reader returns long strings as LongString."""
    if isinstance(streamed, LongString):
        if not isinstance(whole, str):
            return False
        text = whole.lstrip()
        if streamed.characters != len(text) or streamed.head != text[:512]:
            return False
        try:
            expected = decode_base64(whole)
        except NotBase64:
            return streamed.content is None
        assert streamed.content
        with streamed.content.open() as file:
            return bool(file.read() == expected)
    if isinstance(streamed, list):
        return isinstance(whole, list) and len(streamed) == len(whole) and all(map(equal, streamed, whole))
    if isinstance(streamed, dict):  # long keys are placeholders
        return isinstance(whole, dict) and all(equal(streamed[key], whole[key]) for key in streamed if key in whole)
    return bool(streamed == whole and type(streamed) is type(whole))
