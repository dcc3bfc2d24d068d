"""The streaming reader against the whole-body parse, cut anywhere."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from framehouse.adapters.images.base64 import NotBase64, decode_base64
from framehouse.adapters.spool import Spool
from framehouse.domain.reference import MAX_REFERENCE_BYTES, LongString
from framehouse.entrypoints.api.streaming_json import (
    LONG_BYTES,
    MAX_SKELETON_BYTES,
    JsonReader,
    SkeletonTooLarge,
    from_json,
)

LONG_IN_TESTS = 256


def streamed(raw: bytes, size: int, *cuts: int, long_bytes: int = LONG_IN_TESTS) -> Any:
    """What the reader makes of a text, in pieces of these sizes, then of that one; long strings as what they held."""
    spool = Spool()
    try:
        read = JsonReader(spool, long_bytes=long_bytes)
        at = 0
        for cut in (*cuts, *[size] * len(raw)):
            if at >= len(raw):
                break
            read.feed(raw[at : at + cut])
            at += cut
        return told(read.finish())
    finally:
        spool.close()


def told(value: Any) -> Any:
    match value:
        case LongString():
            if value.content is None:
                return ("text", value.head, value.characters, value.problem)
            with value.content.open() as file:
                content = file.read()
            if value.content.size <= MAX_REFERENCE_BYTES:
                assert value.content.sha256 == hashlib.sha256(content).hexdigest()
                assert value.content.size == len(content)
            return ("picture", value.head, value.characters, content)
        case list():
            return [told(item) for item in value]
        case dict():
            return {key: told(item) for key, item in value.items()}
    return value


def expected(value: Any, raw_length: Any) -> Any:
    """What `told` says of a value that was parsed whole. `raw_length` says how long a string was between its quotes."""
    match value:
        case str() if raw_length(value) > LONG_IN_TESTS:
            head = value[:512]
            try:
                return ("picture", head, len(value), decode_base64(value))
            except NotBase64 as error:
                return ("text", head, len(value), str(error))
        case list():
            return [expected(item, raw_length) for item in value]
        case dict():
            return {key: expected(item, raw_length) for key, item in value.items()}
    return value


ENCODED = base64.b64encode(bytes(range(256)) * 3).decode()
texts = st.one_of(
    st.text(max_size=12),
    st.binary(min_size=200, max_size=400).map(lambda content: base64.b64encode(content).decode()),
    st.sampled_from(
        [
            ENCODED,
            ENCODED.replace("A", "\n A"),
            ENCODED.rstrip("="),
            "data:image/PNG;a=b;BASE64," + ENCODED,
            "data:x," + ENCODED,
            ENCODED + "=",
            ENCODED + "=\0",
            "\\" * 301,
            '\\"' * 200 + "é" * 100 + "😀" * 99,
            "😀" * 99,
            "語" * 120 + "\ufffe",
            "http://example.com/" + "a" * 300,
            " " * 400,
        ]
    ),
)
values = st.recursive(
    texts | st.integers(-5, 10**9) | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)


@given(values, st.integers(1, 97), st.booleans(), st.booleans(), st.lists(st.integers(1, 400), max_size=5))
@example({"a": "é" * 150}, 1, False, False, [])
@example(["\\" * 301, "😀" * 99], 1, True, False, [])
def test_cut_anywhere_it_reads_what_the_whole_says(
    value: Any, size: int, ascii: bool, slashes: bool, cuts: list[int]
) -> None:
    def raw_of(part: Any) -> str:
        text = json.dumps(part, ensure_ascii=ascii)
        return text.replace("/", "\\/") if slashes else text

    raw = raw_of(value).encode()
    whole = expected(from_json(raw), lambda text: len(raw_of(text).encode()) - 2)
    assert streamed(raw, size, *cuts) == whole


parts = st.sampled_from(
    [b'"', b"\\", b"\\u", b"d83d", b"\\ude00", b"u0041", b"\xf0\x9f", b"\x98\x80", b"\xc3\xa9", b"[", b"]", b"{", b"}",
     b":", b",", b"A" * 40, b"A" * 300, b"=", b"\n", b"\0", b"1", b" ", b"data:image/png;base64,", b'\\"', b"\\\\"]
)  # fmt: skip


@given(st.lists(parts, max_size=20).map(b"".join), st.booleans(), st.integers(1, 50))
def test_what_is_no_json_whole_is_none_in_pieces(raw: bytes, wrapped: bool, size: int) -> None:
    raw = b'["' + b"A" * 250 + raw + b'"]' if wrapped else raw
    try:
        from_json(raw)
    except ValueError:
        with pytest.raises(ValueError):
            streamed(raw, size)
    else:
        streamed(raw, size)


LONG = base64.b64encode(b"\x89PNG" * 20_000).decode()
TEXT = "x!" * 40_000


def test_places_are_known_and_placeholders_cannot_be_forged() -> None:
    spool = Spool()
    read = JsonReader(spool)
    mine = [read._token + "0", read._token, "0" * 33]
    other = JsonReader(spool)
    body = {"a": [TEXT, {"b": LONG}], TEXT: 1, LONG: 2, "mine": mine}
    other.feed(json.dumps(body).encode())
    value = other.finish()
    assert value["mine"] == mine, "another request's placeholder is a string like any other"
    assert value["a"][0] == LongString(TEXT[:512], 80_000, problem="is neither an http(s) URL nor valid base64")
    assert value["a"][1]["b"].content.size == 80_000
    assert len(value) == 4
    spool.close()


def test_a_string_is_long_by_its_bytes() -> None:
    fits = "x" * LONG_BYTES
    assert streamed(json.dumps(fits).encode(), 1000, long_bytes=LONG_BYTES) == fits
    assert streamed(json.dumps(fits + "xxxx").encode(), 1000, long_bytes=LONG_BYTES)[0] == "picture"


def test_of_too_large_a_picture_no_more_than_allowed_is_written() -> None:
    spool = Spool()
    read = JsonReader(spool)
    piece = base64.b64encode(b"\0" * 999_999)
    read.feed(b'["')
    for _ in range(30):
        read.feed(piece)
        assert spool._size <= MAX_REFERENCE_BYTES
    read.feed(b'", "' + piece + b'"]')
    first, second = read.finish()
    assert first.content.size == 29_999_970
    assert told(second)[3] == b"\0" * 999_999
    spool.close()


def test_besides_long_strings_little_is_kept() -> None:
    with pytest.raises(SkeletonTooLarge):
        streamed(b"[" + b"1," * MAX_SKELETON_BYTES, 4096)
    many = json.dumps([LONG] * 100).encode()
    assert len(streamed(many, 10**6)) == 100


def test_a_closed_spool_gives_and_takes_nothing() -> None:
    spool = Spool()
    spool.write(b"abc")
    part = spool.end_part()
    assert part().read() == b"abc"
    reading = part()
    assert (reading.seek(-1, 2), reading.read(), reading.seek(0), reading.read(2)) == (2, b"c", 0, b"ab")
    spool.close()
    with pytest.raises(OSError, match="closed"):
        part().read()
    with pytest.raises(Exception, match="closed"):
        spool.write(b"x")
