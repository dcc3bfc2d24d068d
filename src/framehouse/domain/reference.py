"""Reference images that callers send, and the rules for them (contract, `image_list`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

MAX_REFERENCES = 10
MAX_REFERENCE_BYTES = 10_000_000
MIN_SIDE_PX = 300
MAX_ASPECT = 2.5
MAX_PIXELS = 40_000_000
"""The contract has no upper limit in pixels. This limit keeps a decoded reference under 160 MB (4 bytes per pixel)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The location of a reference: a `url` that is not fetched yet, or a storage `key` and the size in pixels."""

    url: str = ""
    key: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an image that a client sent, in memory or in a file.

    `size` is the number of bytes. `open` returns a new reader at the start of the content. If the image has more than
    MAX_REFERENCE_BYTES, only its size is known: the bytes were counted and discarded.
    """

    size: int
    sha256: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, repr=False)
class LongString:
    """A string in a request body that is too long to be kept in memory.

    `head` is the beginning of the string, and `characters` is its length. The string was decoded as a base64 image
    while it arrived: `content` is the result, or None if decoding failed. `problem` is then the reason.
    """

    head: str
    characters: int
    content: Content | None = None
    problem: str = ""

    def __repr__(self) -> str:
        """The start of the string, short enough for an error message."""
        return f"'{self.head[:12]}…'"


ImageInput = str | LongString
"""An image as the caller sent it: a URL, a data URL or base64."""


def is_url(image: str) -> bool:
    """Whether an image was sent as a URL. Otherwise, the string contains the image itself."""
    return image[:8].lower().startswith(("http://", "https://"))


def reference_problem(width: int, height: int) -> str | None:
    """The reason why a reference of this size is not allowed, in words for the caller; None if it is allowed."""
    if width * height > MAX_PIXELS:
        return f"is {width}x{height} px; at most {MAX_PIXELS // 1_000_000} megapixels are allowed"
    if min(width, height) < MIN_SIDE_PX:
        return f"is {width}x{height} px; both sides must be at least {MIN_SIDE_PX} px"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"is {width}x{height} px; the aspect ratio must be between 1:2.5 and 2.5:1"
    return None
