"""Fuzz: the streaming reader, cut anywhere, against the whole-body parse. `make fuzz SECONDS=600`."""

import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["framehouse"]):
    from framehouse.adapters.images.base64 import NotBase64, decode_base64
    from framehouse.adapters.spool import Spool
    from framehouse.domain.reference import LongString
    from framehouse.entrypoints.api.reader import JsonReader, from_json

LONG_BYTES = 24


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


def test_one(data: bytes) -> None:
    provider = atheris.FuzzedDataProvider(data)
    sizes = [provider.ConsumeIntInRange(1, 40) for _ in range(provider.ConsumeIntInRange(0, 6))] or [7]
    raw = provider.ConsumeBytes(len(data))
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


atheris.Setup(sys.argv, test_one)
atheris.Fuzz()
