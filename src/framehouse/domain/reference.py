"""A picture the caller sent along, and the rules it must meet (contract, `image_list`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

MAX_REFERENCES = 10
MAX_REFERENCE_BYTES = 10_000_000
MIN_SIDE_PX = 300
MAX_ASPECT = 2.5
MAX_PIXELS = 40_000_000
"""The contract sets no upper limit in pixels; this one keeps a decoded reference under 160 MB (notes: 40 MP)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a reference is: a `url` still to be fetched, or a storage `key` with its size in pixels."""

    url: str = ""
    key: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a picture that was sent, wherever they are.

    `open` gives a reader of its own, from the start. Of more than MAX_REFERENCE_BYTES only the size is known: it was
    counted, not kept.
    """

    size: int
    sha256: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, repr=False)
class LongString:
    """A string of a body that is too long to be kept as one: how it begins, and how many characters it has.

    It was taken for a picture while it arrived: `content` is what it decoded to, else `problem` says why it did not.
    """

    head: str
    characters: int
    content: Content | None = None
    problem: str = ""

    def __repr__(self) -> str:
        """As an error message may repeat it."""
        return f"'{self.head[:12]}…'"


Sent = str | LongString
"""An image as the caller sent it: a URL, a data URL or base64."""


def is_url(image: str) -> bool:
    """Whether an image as sent is a URL to fetch; otherwise it is the picture itself."""
    return image[:8].lower().startswith(("http://", "https://"))


def reference_problem(width: int, height: int) -> str | None:
    """What is wrong with a reference of this size, in words for the caller, or None."""
    if width * height > MAX_PIXELS:
        return f"is {width}x{height} px; at most {MAX_PIXELS // 1_000_000} megapixels are allowed"
    if min(width, height) < MIN_SIDE_PX:
        return f"is {width}x{height} px; both sides must be at least {MIN_SIDE_PX} px"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"is {width}x{height} px; the aspect ratio must be between 1:2.5 and 2.5:1"
    return None
