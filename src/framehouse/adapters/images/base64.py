"""A picture as a string: base64, perhaps a data URL, decoded piece by piece."""

import re

import pybase64

DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)
LONGEST_HEAD = 256
"""A data URL's comma comes within so many characters."""


class NotBase64(Exception):
    """The string holds no picture; the message continues "image_list[0].image …"."""


class Decoder:
    """Decodes a string that comes in pieces, the first of at least LONGEST_HEAD characters or the whole.

    White space is ignored wherever it stands, as mail programs wrap; the padding may be missing.
    """

    def __init__(self) -> None:
        self._begun = False
        self._rest = b""
        self._padded = False

    def feed(self, text: bytes) -> bytes:
        """What the next piece of ASCII text decodes to. Raises NotBase64."""
        if not self._begun:
            self._begun = True
            if text[:5].lower() == b"data:":
                head = DATA_URL.match(text[:LONGEST_HEAD].decode("ascii", "replace"))
                if head is None:
                    raise NotBase64("is a data URL without base64 content; data:image/png;base64,… is needed")
                text = text[head.end() :]
        text = self._rest + text
        end = len(text) & ~3
        try:
            decoded = self._quads(text[:end])
            self._rest = text[end:]
        except NotBase64:
            text = b"".join(text.split())
            end = len(text) & ~3
            decoded = self._quads(text[:end])
            self._rest = text[end:]
        return decoded

    def finish(self) -> bytes:
        """The last bytes. Raises NotBase64."""
        rest = b"".join(self._rest.split())
        if not rest:
            return b""
        return self._quads(rest + b"=" * (-len(rest) % 4))

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


def decode_base64(image: str) -> bytes:
    """The bytes of a picture sent as base64 or as a data URL. Raises NotBase64."""
    try:
        text = image.encode("ascii")
    except UnicodeEncodeError:
        raise NotBase64(_PROBLEM) from None
    decoder = Decoder()
    return decoder.feed(text) + decoder.finish()
