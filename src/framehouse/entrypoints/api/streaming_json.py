"""JSON that is read while it arrives: strings too long to keep go to a file, the rest is parsed as usual.

What is kept, the skeleton, is the body with each long string replaced by a placeholder. A placeholder holds a number
that nobody can know before the body is sent, so no client can write one. The skeleton and every piece of a long
string's text go through the same parser as a small body; the scanner itself only finds where strings begin and end.
"""

import hashlib
import re
import secrets
from typing import Any

import numpy as np
import pydantic_core

from framehouse.adapters.images.base64 import Decoder, NotBase64
from framehouse.adapters.spool import Spool
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Content, LongString

LONG_BYTES = 64 * 1024
"""Strings with more bytes than this between their quotes are not kept."""
MAX_SKELETON_BYTES = 1024 * 1024
"""Ten pictures just short of long, and a prompt in escapes, stay well below."""
_HEAD_CHARACTERS = 512
_UNFINISHED = re.compile(
    rb"\\(?:u[0-9a-fA-F]{0,3})?\Z"  # an escape
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z"  # half of a pair of surrogates
    rb"|[\xc2-\xf4]\Z|[\xe0-\xf4][\x80-\xbf]\Z|[\xf0-\xf4][\x80-\xbf]{2}\Z"  # a character of UTF-8
)
_LONGEST_UNFINISHED = 11


class TooMuchBesides(Exception):
    """There is more than MAX_SKELETON_BYTES besides long strings."""


class JsonReader:
    """Takes a JSON text in pieces of any size. Raises ValueError where it is not JSON, TooMuchBesides, SpoolFull.

    Work and memory are in proportion to the piece, whatever came before, so pieces may be large but should not be tiny.
    """

    def __init__(self, spool: Spool, *, long_bytes: int = LONG_BYTES) -> None:
        self._spool = spool
        self._long_bytes = long_bytes
        self._token = secrets.token_hex(16)
        self._skeleton = bytearray()
        self._in_string = False
        self._opened_at = 0  # where in the skeleton the string that is open began
        self._long: _Long | None = None
        self._found: list[LongString] = []
        self._rest = b""

    @property
    def in_long_string(self) -> bool:
        """Whether what comes next is most likely text to decode; otherwise it is structure, which is slower to scan."""
        return self._long is not None

    def feed(self, piece: bytes) -> None:
        data = self._rest + piece
        odd = (len(data) - len(data.rstrip(b"\\"))) % 2  # a backslash that belongs to what comes next
        end = len(data) - odd
        self._rest = data[end:]
        # where escapes are put out of the way, a quote is a quote; outside of strings there are none in JSON
        quotes = data.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in data else data
        at = 0
        while at < end:
            quote = quotes.find(b'"', at, end)
            stop = end if quote < 0 else quote
            if self._in_string:
                self._take(data[at:stop])
                if quote >= 0:
                    self._close_string()
            else:
                self._keep(data[at:stop])
                if quote >= 0:
                    self._keep(b'"')
                    self._in_string, self._opened_at = True, len(self._skeleton)
            at = stop + 1

    def finish(self) -> Any:
        """The value, with a LongString in the place of each long string; a long key is one that nobody knows."""
        if self._in_string or self._rest:
            raise ValueError("the text ends inside a string")
        value = from_json(bytes(self._skeleton))
        return self._put_back(value) if self._found else value

    def _keep(self, piece: bytes) -> None:
        self._skeleton += piece
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise TooMuchBesides

    def _take(self, piece: bytes) -> None:
        if self._long is None:
            if len(self._skeleton) - self._opened_at + len(piece) <= self._long_bytes:
                self._keep(piece)
                return
            piece = bytes(self._skeleton[self._opened_at :]) + piece
            del self._skeleton[self._opened_at :]
            self._long = _Long(self._spool)
        self._long.feed(piece)

    def _close_string(self) -> None:
        if self._long is not None:
            self._keep(f"{self._token}{len(self._found)}".encode())
            self._found.append(self._long.finish())
            self._long = None
        self._keep(b'"')
        self._in_string = False

    def _put_back(self, value: Any) -> Any:
        match value:
            case str() if value.startswith(self._token):
                return self._found[int(value[len(self._token) :])]
            case list():
                return [self._put_back(item) for item in value]
            case dict():
                return {key: self._put_back(item) for key, item in value.items()}
        return value


class _Long:
    """One long string: its text is checked as JSON, counted, and decoded for as long as it is base64."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._rest = b""
        self._head = ""
        self._characters = 0
        self._decoder = Decoder()
        self._problem = ""
        self._size = 0
        self._hash = hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        raw = self._rest + piece
        self._rest = b""
        if b"\\" in raw or not raw.isascii():
            cut = _finished(raw)
            raw, self._rest = raw[:cut], raw[cut:]
            self._text(from_json(b'"' + raw + b'"'))
        elif np.frombuffer(raw, np.uint8).min(initial=0xFF) < 0x20:
            raise ValueError("a string holds a control character")
        else:
            self._ascii(raw)

    def finish(self) -> LongString:
        if self._rest:  # unfinished for ever: the parser says what is wrong with it
            self._text(from_json(b'"' + self._rest + b'"'))
        self._decode(b"", last=True)
        if self._problem:
            return LongString(self._head, self._characters, problem=self._problem)
        content = Content(self._size, self._hash.hexdigest(), self._spool.end_part())
        return LongString(self._head, self._characters, content)

    def _text(self, text: str) -> None:
        if text.isascii():
            self._ascii(text.encode())
            return
        self._count(text[:_HEAD_CHARACTERS], len(text))
        self._decode(b"?")  # no base64

    def _ascii(self, text: bytes) -> None:
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
    """The JSON value. Raises ValueError; NaN, invalid UTF-8, lone surrogates and endless nesting are not JSON."""
    return pydantic_core.from_json(text, allow_inf_nan=False)


def _finished(raw: bytes) -> int:
    """How much of a string's inside can be read by itself: up to an escape or a character that is cut in two."""
    tail = raw.replace(b"\\\\", b"__")[-_LONGEST_UNFINISHED:] if b"\\" in raw else raw[-_LONGEST_UNFINISHED:]
    found = _UNFINISHED.search(tail)
    return len(raw) - len(tail) + found.start() if found else len(raw)
