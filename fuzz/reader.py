"""Fuzz: the streaming reader, cut anywhere, against the whole-body parse.

An input is the number of sizes of pieces, that many sizes, and the body; the sizes go round.
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
        at = turn = 0
        while at < len(raw):
            size = sizes[turn % len(sizes)]
            reader.feed(raw[at : at + size])
            at, turn = at + size, turn + 1
        read = reader.finish()
    except ValueError:
        assert not is_json, raw
    else:
        assert is_json, raw
        assert same(read, whole), raw
    finally:
        spool.close()


def same(read: Any, whole: Any) -> bool:
    """Whether the reader's value is the parsed one, with some of its strings as LongString."""
    if isinstance(read, LongString):
        if not isinstance(whole, str) or read.characters != len(whole) or read.head != whole[:512]:
            return False
        try:
            expected = decode_base64(whole)
        except NotBase64:
            return read.content is None
        assert read.content
        with read.content.open() as file:
            return bool(file.read() == expected)
    if isinstance(read, list):
        return isinstance(whole, list) and len(read) == len(whole) and all(map(same, read, whole))
    if isinstance(read, dict):  # long keys are placeholders
        return isinstance(whole, dict) and all(same(read[key], whole[key]) for key in read if key in whole)
    return bool(read == whole and type(read) is type(whole))
