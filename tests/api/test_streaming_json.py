"""The streaming JSON reader gives the same result as parsing the whole body, however the body is cut."""

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

TEST_LONG_BYTES = 256


def streamed(raw: bytes, size: int, *cuts: int, long_bytes: int = TEST_LONG_BYTES) -> Any:
    """Read a text with JsonReader: first in pieces of the sizes `cuts`, then in pieces of `size` bytes.

    Returns the value, with each long string as a tuple (see `comparable`).
    """
    spool = Spool()
    try:
        reader = JsonReader(spool, long_bytes=long_bytes)
        at = 0
        for cut in (*cuts, *[size] * len(raw)):
            if at >= len(raw):
                break
            reader.feed(raw[at : at + cut])
            at += cut
        return comparable(reader.finish())
    finally:
        spool.close()


def comparable(value: Any) -> Any:
    """The value with each long string as a tuple.

    The tuple is ("image", head, characters, decoded bytes), or ("text", head, characters, problem) if the string is not
    base64.
    """
    match value:
        case LongString():
            if value.content is None:
                return ("text", value.head, value.characters, value.problem)
            with value.content.open() as file:
                content = file.read()
            if value.content.size <= MAX_REFERENCE_BYTES:
                assert value.content.sha256 == hashlib.sha256(content).hexdigest()
                assert value.content.size == len(content)
            return ("image", value.head, value.characters, content)
        case list():
            return [comparable(item) for item in value]
        case dict():
            return {key: comparable(item) for key, item in value.items()}
    return value


def expected(value: Any, raw_length: Any) -> Any:
    """The result of `comparable` for a value that was parsed whole.

    `raw_length` returns the number of bytes between the quotes of a string in the JSON text.
    """
    match value:
        case str() if raw_length(value) > TEST_LONG_BYTES:
            head = value[:512]
            try:
                return ("image", head, len(value), decode_base64(value))
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
def test_reading_in_pieces_gives_the_same_value_as_parsing_the_whole(
    value: Any, size: int, ascii: bool, slashes: bool, cuts: list[int]
) -> None:
    def json_text(part: Any) -> str:
        text = json.dumps(part, ensure_ascii=ascii)
        return text.replace("/", "\\/") if slashes else text

    raw = json_text(value).encode()
    whole = expected(from_json(raw), lambda text: len(json_text(text).encode()) - 2)
    assert streamed(raw, size, *cuts) == whole


parts = st.sampled_from(
    [b'"', b"\\", b"\\u", b"d83d", b"\\ude00", b"u0041", b"\xf0\x9f", b"\x98\x80", b"\xc3\xa9", b"[", b"]", b"{", b"}",
     b":", b",", b"A" * 40, b"A" * 300, b"=", b"\n", b"\0", b"1", b" ", b"data:image/png;base64,", b'\\"', b"\\\\"]
)  # fmt: skip


@given(st.lists(parts, max_size=20).map(b"".join), st.booleans(), st.integers(1, 50))
def test_text_that_is_not_json_is_refused_in_pieces_too(raw: bytes, wrapped: bool, size: int) -> None:
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


def test_long_strings_are_replaced_at_their_places_and_placeholders_cannot_be_forged() -> None:
    spool = Spool()
    reader = JsonReader(spool)
    forged = [reader._token + "0", reader._token, "0" * 33]
    other = JsonReader(spool)
    body = {"a": [TEXT, {"b": LONG}], TEXT: 1, LONG: 2, "forged": forged}
    other.feed(json.dumps(body).encode())
    value = other.finish()
    assert value["forged"] == forged, "a placeholder of another request is an ordinary string"
    assert value["a"][0] == LongString(TEXT[:512], 80_000, problem="is neither an http(s) URL nor valid base64")
    assert value["a"][1]["b"].content.size == 80_000
    assert len(value) == 4
    spool.close()


def test_long_strings_are_selected_by_their_number_of_bytes() -> None:
    short = "x" * LONG_BYTES
    assert streamed(json.dumps(short).encode(), 1000, long_bytes=LONG_BYTES) == short
    assert streamed(json.dumps(short + "xxxx").encode(), 1000, long_bytes=LONG_BYTES)[0] == "image"


def test_at_most_the_allowed_size_of_a_large_image_is_written() -> None:
    spool = Spool()
    reader = JsonReader(spool)
    piece = base64.b64encode(b"\0" * 999_999)
    reader.feed(b'["')
    for _ in range(30):
        reader.feed(piece)
        assert spool._size <= MAX_REFERENCE_BYTES
    reader.feed(b'", "' + piece + b'"]')
    first, second = reader.finish()
    assert first.content.size == 29_999_970
    assert comparable(second)[3] == b"\0" * 999_999
    spool.close()


def test_the_body_without_its_long_strings_is_limited() -> None:
    with pytest.raises(SkeletonTooLarge):
        streamed(b"[" + b"1," * MAX_SKELETON_BYTES, 4096)
    many = json.dumps([LONG] * 100).encode()
    assert len(streamed(many, 10**6)) == 100


def test_a_closed_spool_can_be_neither_read_nor_written() -> None:
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
