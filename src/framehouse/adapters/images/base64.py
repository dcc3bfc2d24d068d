"""Decode an image that was sent as base64 or as a data URL, one chunk at a time."""

import re

import pybase64

MAX_HEAD_CHARACTERS = 1024
"""The maximum length of the head of a data URL, in characters. The head ends with the first comma of the URL."""
_BASE64_HEAD = re.compile(rb"data:[^,]*;\s*base64\s*", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_ESCAPE_CHARACTERS = 3
_MIN_LINE_CHARACTERS = 60
"""The minimum length of a line in base64 text with line breaks. Common lengths are 64 and 76."""


class NotBase64(Exception):
    """Raised when a string is neither valid base64 nor a data URL.

    The message is the end of a sentence that starts with a request field, for example "image_list[0].image".
    """


class Decoder:
    """A decoder for base64 text or a data URL (RFC 2397) that arrives in chunks.

    The decoder accepts the same data URLs as browsers: with any parameters, without a media type, percent-encoded, and
    without base64. The decoder also accepts the URL-safe alphabet and missing padding. Whitespace is ignored, because
    some encoders insert line breaks. However, if spaces occur at irregular distances, each space is a `+` that was
    decoded as a part of a form.
    """

    def __init__(self) -> None:
        self._started = False
        self._percent = False  # whether the text is percent-encoded
        self._base64 = True
        self._spaces_are_plus: bool | None = None  # None until the first space
        self._pending = b""
        self._padded = False

    def feed(self, text: bytes, *, last: bool = False) -> bytes:
        """Decode the next chunk of ASCII text. Returns the decoded bytes.

        Four characters of base64 text form a group. If a chunk ends with an incomplete group, the next call decodes
        this group. `last` must be true for the last chunk. Raises NotBase64.
        """
        text = self._pending + text
        self._pending = b""
        if not self._started:
            text = text.lstrip()
            if len(text) < MAX_HEAD_CHARACTERS and not last:
                self._pending = text
                return b""
            self._started = True
            text = self._without_head(text)
        if self._percent:
            text, rest = _unescaped(text, last=last)
            if not self._base64:
                self._pending = rest
                return text
        else:
            rest = b""
        decoded = self._decode_groups(text, last=last)
        self._pending += rest
        return decoded

    def _without_head(self, text: bytes) -> bytes:
        """Return the text after the head of a data URL, or the unchanged text if it is not a data URL."""
        if text[:5].lower() != b"data:":
            return text
        head, comma, content = text.partition(b",")
        if not comma or len(head) >= MAX_HEAD_CHARACTERS:
            raise NotBase64('is a data URL without content; a data URL has the form "data:image/png;base64,…"')
        self._percent = True
        self._base64 = _BASE64_HEAD.fullmatch(head) is not None
        return content

    def _decode_groups(self, text: bytes, *, last: bool) -> bytes:
        end = len(text) & ~3
        try:
            decoded = self._decode(text[:end])
        except NotBase64:
            text = self._normalized(text, last=last)
            end = len(text) & ~3
            decoded = self._decode(text[:end])
        self._pending = text[end:]
        if not last:
            return decoded
        pending = self._normalized(self._pending, last=True)
        self._pending = b""
        return decoded + self._decode(pending + b"=" * (-len(pending) % 4))

    def _normalized(self, text: bytes, *, last: bool) -> bytes:
        """Return the text in the standard alphabet and without whitespace."""
        text = text.strip(b" ") if last else text
        if b" " in text:
            if self._spaces_are_plus is None:
                self._spaces_are_plus = not _at_regular_distances(text)
            if self._spaces_are_plus:
                text = text.replace(b" ", b"+")
        return b"".join(text.split()).translate(_URL_SAFE)

    def _decode(self, text: bytes) -> bytes:
        if not text:
            return b""
        if self._padded:
            raise NotBase64(_PROBLEM)
        try:
            decoded = pybase64.b64decode(text, validate=True)
        except ValueError:
            raise NotBase64(_PROBLEM) from None
        self._padded = text.endswith(b"=")
        return decoded


_PROBLEM = "is neither an http(s) URL nor valid base64"


def _unescaped(text: bytes, *, last: bool) -> tuple[bytes, bytes]:
    """Return the text with its escape sequences (`%2B`) decoded, and an incomplete escape sequence at its end."""
    if b"%" not in text:
        return text, b""
    start = -1 if last else text.rfind(b"%", max(0, len(text) - _ESCAPE_CHARACTERS + 1))
    rest = text[start:] if start >= 0 else b""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text[: len(text) - len(rest)]), rest


_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")


def _at_regular_distances(text: bytes) -> bool:
    """Return whether the spaces in the text replace line breaks, and are not decoded plus signs.

    All lines have the same length, which is a multiple of four. Only the first and the last line may be shorter.
    """
    lines = [len(line) for line in text.split(b" ") if line.strip()]
    lengths = set(lines[1:-1] or lines[:1])
    return (
        len(lengths) == 1
        and (length := lengths.pop()) >= _MIN_LINE_CHARACTERS
        and length % 4 == 0
        and max(lines[0], lines[-1]) <= length
    )


def decode_base64(image: str) -> bytes:
    """Return the bytes of an image that was sent as base64 or as a data URL. Raises NotBase64."""
    return Decoder().feed(image.encode("ascii", "replace"), last=True)
