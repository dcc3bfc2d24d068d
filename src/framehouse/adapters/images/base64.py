"""Decode an image that was sent as base64 or as a data URL, one chunk at a time."""

import re

import pybase64

DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)
MAX_HEAD_CHARACTERS = 256
"""The maximum length of the head of a data URL, in characters. The head ends with the first comma of the URL."""


class NotBase64(Exception):
    """Raised when a string is neither valid base64 nor a data URL with valid base64 content.

    The message is the end of a sentence that starts with a request field, for example "image_list[0].image".
    """


class Decoder:
    """A decoder for base64 text that arrives in chunks.

    Whitespace is ignored, because some encoders insert line breaks. The padding at the end of the text is optional.
    """

    def __init__(self) -> None:
        self._started = False
        self._pending = b""
        self._padded = False

    def feed(self, text: bytes, *, last: bool = False) -> bytes:
        """Decode the next chunk of ASCII text. Returns the decoded bytes.

        Four characters of base64 text form a group. If a chunk ends with an incomplete group, the next call decodes
        this group. `last` must be true for the last chunk. Raises NotBase64.
        """
        text = self._pending + text
        if not self._started:
            text = text.lstrip()
            if len(text) < MAX_HEAD_CHARACTERS and not last:
                self._pending = text
                return b""
            self._started = True
            text = _without_head(text)
        end = len(text) & ~3
        try:
            decoded = self._quads(text[:end])
        except NotBase64:
            text = b"".join(text.split())
            end = len(text) & ~3
            decoded = self._quads(text[:end])
        self._pending = text[end:]
        if not last:
            return decoded
        pending = b"".join(self._pending.split())
        return decoded + self._quads(pending + b"=" * (-len(pending) % 4))

    def _quads(self, text: bytes) -> bytes:
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


def _without_head(text: bytes) -> bytes:
    if text[:5].lower() != b"data:":
        return text
    head = DATA_URL.match(text[:MAX_HEAD_CHARACTERS].decode("ascii", "replace"))
    if head is None:
        raise NotBase64('is a data URL without base64 content; it must start like this: "data:image/png;base64,"')
    return text[head.end() :]


def decode_base64(image: str) -> bytes:
    """Return the bytes of an image that was sent as base64 or as a data URL. Raises NotBase64."""
    return Decoder().feed(image.encode("ascii", "replace"), last=True)
