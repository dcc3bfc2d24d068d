"""Parses JSON while it arrives. Long strings are decoded into a file.

The skeleton of a body is the body with a placeholder in place of each long string. A placeholder contains a random
number that is chosen for each body, so a client cannot forge a placeholder. The scanner in this module only finds the
beginning and the end of each string. `from_json`, the parser for small bodies, parses the skeleton. `from_json` also
parses a piece of a long string if this piece contains escape sequences or non-ASCII characters.
"""

import hashlib
import json
import re
import secrets
from typing import Any

import numpy as np
import pydantic_core

from framehouse.adapters.images.base64 import Decoder, NotBase64
from framehouse.adapters.spool import Spool
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Content, LongString

LONG_BYTES = 64 * 1024
"""The maximum number of bytes between the quotes of a short string. A string with more bytes is a long string."""
MAX_SKELETON_BYTES = 1024 * 1024
"""The maximum size of a skeleton in bytes. A skeleton of this size can contain ten images of slightly less than
LONG_BYTES bytes each, and a prompt that consists of escape sequences."""
_HEAD_CHARACTERS = 512
_UNFINISHED = re.compile(
    rb"\\(?:u[0-9a-fA-F]{0,3})?\Z"  # the start of an escape sequence
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"  # the start of a surrogate pair
    rb"|[\xc2-\xf4]\Z|[\xe0-\xf4][\x80-\xbf]\Z|[\xf0-\xf4][\x80-\xbf]{2}\Z"  # the start of a UTF-8 character
)
_MAX_UNFINISHED_BYTES = 11
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class SkeletonTooLarge(Exception):
    """Raised when the skeleton of a body is larger than MAX_SKELETON_BYTES."""


class JsonReader:
    """A parser that receives a JSON text in pieces of any size.

    The methods raise ValueError if the text is not JSON, and can also raise SkeletonTooLarge and SpoolFull.

    The time and the memory for parsing a piece increase linearly with the size of the piece, and do not depend on
    earlier pieces. Each piece also takes a short fixed time, so the same text takes longer to parse in many small
    pieces than in a few large pieces.
    """

    def __init__(self, spool: Spool, *, long_bytes: int = LONG_BYTES) -> None:
        self._spool = spool
        self._long_bytes = long_bytes
        self._token = secrets.token_hex(16)
        self._skeleton = bytearray()
        self._in_string = False
        self._opened_at = 0  # position in the skeleton at which the open string begins
        self._open_long: _LongStringReader | None = None
        self._long_strings: list[LongString] = []
        self._pending = b""

    @property
    def skeleton(self) -> bytes:
        return bytes(self._skeleton)

    @property
    def in_long_string(self) -> bool:
        """True if a long string has started and has not ended. Inside a long string, `feed` is so fast that it can be
        called in the event loop instead of in a thread."""
        return self._open_long is not None

    def feed(self, piece: bytes) -> None:
        data = self._pending + piece
        open_escape = (len(data) - len(data.rstrip(b"\\"))) % 2  # 1 if the next piece continues an escape sequence
        end = len(data) - open_escape
        self._pending = data[end:]
        # Escaped quotes are masked, so that every remaining quote begins or ends a string. JSON allows escape
        # sequences only inside strings.
        quotes = data.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in data else data
        at = 0
        while at < end:
            quote = quotes.find(b'"', at, end)
            stop = end if quote < 0 else quote
            if self._in_string:
                self._add_text(data[at:stop])
                if quote >= 0:
                    self._close_string()
            else:
                self._append(data[at:stop])
                if quote >= 0:
                    self._append(b'"')
                    self._in_string, self._opened_at = True, len(self._skeleton)
            at = stop + 1

    def finish(self) -> Any:
        """Return the parsed value, with a LongString in place of each long string.

        A placeholder that is the key of an object is not replaced, because no field of the API has a long name.
        """
        if self._in_string or self._pending:
            raise ValueError("the text ends inside a string")
        value = from_json(bytes(self._skeleton))
        return self._restore(value) if self._long_strings else value

    def _append(self, piece: bytes) -> None:
        self._skeleton += piece
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise SkeletonTooLarge

    def _add_text(self, piece: bytes) -> None:
        if self._open_long is None:
            if len(self._skeleton) - self._opened_at + len(piece) <= self._long_bytes:
                self._append(piece)
                return
            piece = bytes(self._skeleton[self._opened_at :]) + piece
            del self._skeleton[self._opened_at :]
            self._open_long = _LongStringReader(self._spool)
        self._open_long.feed(piece)

    def _close_string(self) -> None:
        if self._open_long is not None:
            self._append(f"{self._token}{len(self._long_strings)}".encode())
            self._long_strings.append(self._open_long.finish())
            self._open_long = None
        self._append(b'"')
        self._in_string = False

    def _restore(self, value: Any) -> Any:
        match value:
            case str() if value.startswith(self._token):
                return self._long_strings[int(value[len(self._token) :])]
            case list():
                return [self._restore(item) for item in value]
            case dict():
                return {key: self._restore(item) for key, item in value.items()}
        return value


class _LongStringReader:
    """A parser for one long string.

    The parser counts the characters, and decodes base64 into the spool (a temporary file). Whitespace at the start is
    ignored.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._pending = b""
        self._head = ""
        self._characters = 0
        self._decoder = Decoder()
        self._problem = ""
        self._size = 0
        self._hash = hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        raw = self._pending + piece
        self._pending = b""
        if b"\\" in raw or not raw.isascii():
            cut = _complete_bytes(raw)
            raw, self._pending = raw[:cut], raw[cut:]
            self._text(from_json(b'"' + raw + b'"'))
        elif np.frombuffer(raw, np.uint8).min(initial=0xFF) < 0x20:
            raise ValueError("a string contains a control character")
        else:
            self._ascii(raw)

    def finish(self) -> LongString:
        if self._pending:  # the string ends inside an escape sequence or a character, so from_json raises an error
            self._text(from_json(b'"' + self._pending + b'"'))
        self._decode(b"", last=True)
        if self._problem:
            return LongString(self._head, self._characters, problem=self._problem)
        content = Content(self._size, self._hash.hexdigest(), self._spool.end_part())
        return LongString(self._head, self._characters, content)

    def _text(self, text: str) -> None:
        if not self._characters:
            text = text.lstrip()
        if text.isascii():
            self._ascii(text.encode())
            return
        self._count(text[:_HEAD_CHARACTERS], len(text))
        self._decode(text.encode("ascii", "replace"))  # question marks are invalid in base64

    def _ascii(self, text: bytes) -> None:
        if not self._characters:
            text = text.lstrip()
        self._count(text[:_HEAD_CHARACTERS].decode(), len(text))
        self._decode(text)

    def _count(self, head: str, characters: int) -> None:
        self._head += head[: _HEAD_CHARACTERS - len(self._head)]
        self._characters += characters

    def _decode(self, text: bytes, *, last: bool = False) -> None:
        if self._problem:
            return
        try:
            decoded = self._decoder.feed(text, last=last)
        except NotBase64 as error:
            self._problem = str(error)
            self._spool.drop_part()
            return
        self._size += len(decoded)
        if self._size > MAX_REFERENCE_BYTES:
            self._spool.drop_part()
        else:
            self._hash.update(decoded)
            self._spool.write(decoded)


def from_json(text: bytes) -> Any:
    """Parse JSON.

    Raises ValueError for invalid JSON, NaN, infinity, invalid UTF-8, lone surrogates and very deep nesting.
    """
    return pydantic_core.from_json(text, allow_inf_nan=False)


def half_surrogate_at(text: bytes) -> str:
    """Return the name of the first field whose value contains half of a surrogate pair, for example
    `element_list[0].name`. Returns an empty string if there is no such field, or if the text is not JSON."""
    if not _SURROGATE.search(text):
        return ""
    try:
        return _find_half_surrogate(json.loads(text), "") or ""
    except (ValueError, RecursionError):
        return ""


def _find_half_surrogate(value: Any, name: str) -> str | None:
    match value:
        case str() if any("\ud800" <= character <= "\udfff" for character in value):
            return name or "the body"
        case list():
            items = ((f"{name}[{index}]", item) for index, item in enumerate(value))
        case dict():
            items = ((f"{name}.{key}".removeprefix("."), item) for key, item in value.items())
        case _:
            return None
    return next((found for path, item in items if (found := _find_half_surrogate(item, path))), None)


def _complete_bytes(raw: bytes) -> int:
    """Return the number of bytes of `raw` that precede an incomplete escape sequence or character at its end."""
    tail = raw.replace(b"\\\\", b"__")[-_MAX_UNFINISHED_BYTES:] if b"\\" in raw else raw[-_MAX_UNFINISHED_BYTES:]
    unfinished = _UNFINISHED.search(tail)
    return len(raw) - len(tail) + unfinished.start() if unfinished else len(raw)
