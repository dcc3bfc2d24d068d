"""A picture as a string: base64, perhaps a data URL, decoded piece by piece."""

import re

import pybase64

DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)
LONGEST_HEAD = 256
"""A data URL's comma comes within so many characters."""


class NotBase64(Exception):
    """The string holds no picture; the message continues "image_list[0].image …"."""


class Decoder:
    """Decodes a string that comes in pieces.

    White space is ignored wherever it stands, as mail programs wrap; the padding may be missing.
    """

    def __init__(self) -> None:
        self._begun = False
        self._rest = b""
        self._padded = False

    def feed(self, text: bytes, *, last: bool = False) -> bytes:
        """What the next piece of ASCII text, as far as it is known, decodes to. Raises NotBase64."""
        text = self._rest + text
        if not self._begun:
            if len(text) < LONGEST_HEAD and not last:
                self._rest = text
                return b""
            self._begun = True
            text = _without_head(text)
        end = len(text) & ~3
        try:
            decoded = self._quads(text[:end])
        except NotBase64:
            text = b"".join(text.split())
            end = len(text) & ~3
            decoded = self._quads(text[:end])
        self._rest = text[end:]
        if not last:
            return decoded
        rest = b"".join(self._rest.split())
        return decoded + self._quads(rest + b"=" * (-len(rest) % 4))

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
    head = DATA_URL.match(text[:LONGEST_HEAD].decode("ascii", "replace"))
    if head is None:
        raise NotBase64("is a data URL without base64 content; data:image/png;base64,… is needed")
    return text[head.end() :]


def decode_base64(image: str) -> bytes:
    """The bytes of a picture sent as base64 or as a data URL. Raises NotBase64."""
    return Decoder().feed(image.encode("ascii", "replace"), last=True)
