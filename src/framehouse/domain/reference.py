"""Reference images that clients send, and the rules of the Kling API for these images (field `image_list`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

MAX_REFERENCES = 10
MAX_REFERENCE_BYTES = 10_000_000
MIN_SIDE_PX = 300
MAX_ASPECT = 2.5
MAX_PIXELS = 51_000_000
"""The maximum number of pixels of a reference. The Kling API has no such limit. The photos of phones have up to 50.3
megapixels. With this limit, a decoded reference needs at most 204 MB of memory (4 bytes per pixel)."""


ReferenceRole = Literal["", "subject", "face", "scene", "style", "original", "human", "cloth", "mask"]
"""The purpose of a reference.

A `subject` or a `face` must be recognizable in the new image. A `scene` defines the place that the new image shows, and
a `style` defines the style of the new image. An `original` is expanded beyond its edges. In the new image, the `human`
wears the `cloth`. An empty role means that the prompt defines the purpose. A `mask` is not a reference: it shows the
area of the first reference that is edited (`domain.mask`).
"""


@dataclass(frozen=True, slots=True)
class Reference:
    """The location of a reference.

    Before a reference has been fetched, its `url` is known, but its `key` and its size are not. A stored reference has
    a storage `key` and a size in pixels. `field` is the name of the request field that contained the image. `field` and
    `role` are empty for images of elements.
    """

    url: str = ""
    key: str = ""
    width: int = 0
    height: int = 0
    field: str = ""
    role: ReferenceRole = ""


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an image that a client sent, in memory or in a file.

    `size` is the number of bytes. `open` returns a new reader at the start of the content. If `size` is greater than
    MAX_REFERENCE_BYTES, the bytes were discarded, and all other fields are invalid.
    """

    size: int
    sha256: str
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, repr=False)
class LongString:
    """A string that was sent in a request body and is too long to be kept in memory.

    `head` is the beginning of the string, and `characters` is the length of the string. While the string was arriving,
    the server tried to decode it as a base64 image. `content` is the decoded image. If decoding failed, `content` is
    None and `problem` is the reason.
    """

    head: str
    characters: int
    content: Content | None = None
    problem: str = ""

    def __repr__(self) -> str:
        """Return the first 12 characters of the string, for error messages."""
        return f"'{self.head[:12]}…'"


ImageInput = str | LongString
"""An image as the client sent it: a URL, a data URL or base64."""


@dataclass(frozen=True, slots=True)
class SentImage:
    """An image as the client sent it, with its role and the name of the request field that contained it."""

    field: str
    image: ImageInput
    role: ReferenceRole = ""


def is_url(image: str) -> bool:
    """Return whether an image in a request is an http or https URL. If the result is false, the string contains the
    image itself."""
    return image[:8].lower().startswith(("http://", "https://"))


def reference_problem(width: int, height: int) -> str | None:
    """Return the reason why a reference of this size in pixels is not allowed, or None if the size is allowed.

    The client sees the reason.
    """
    if width * height > MAX_PIXELS:
        return f"is {width}x{height} px; at most {MAX_PIXELS // 1_000_000} megapixels are allowed"
    if min(width, height) < MIN_SIDE_PX:
        return f"is {width}x{height} px; both sides must be at least {MIN_SIDE_PX} px"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"is {width}x{height} px; the aspect ratio must be between 1:2.5 and 2.5:1"
    return None
