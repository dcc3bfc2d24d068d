"""One image of a task: the input for the engine, and the finished file."""

from dataclasses import dataclass

from framehouse.domain.sizes import Size

FRAMINGS = ("wide shot", "medium shot", "close-up", "over-the-shoulder shot", "low angle", "top view")
"""The framings of the images of a series, in order. If a series has more than six images, the framings are repeated."""


@dataclass(frozen=True, slots=True)
class Shot:
    """The input for one image. `framing` is empty if the prompt alone determines the framing."""

    index: int
    prompt: str
    framing: str
    seed: int


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """The file of a generated image, its watermarked copy, and its preview.

    `watermarked` is empty if no watermark was requested. It equals `content` if that file already has the watermark.
    `preview` is a small WebP file, and `thumb_hash` is the ThumbHash of the image. `perceptual_hash` is the hash by
    which copies of the image can be found, or empty.
    """

    content: bytes
    watermarked: bytes
    media_type: str
    size: Size
    preview: bytes
    thumb_hash: bytes
    perceptual_hash: bytes = b""


def image_folder(task_id: object) -> str:
    """Return the storage folder of a task: the prefix of the keys of all its image files."""
    return f"images/{task_id}/"


def partial_image_key(task_id: object, index: int) -> str:
    """Return the storage key of the newest partial image of a shot."""
    return f"{image_folder(task_id)}{index}-partial.webp"


def preview_key(key: str) -> str:
    """Return the storage key of the preview of an image. `key` is the storage key of the image."""
    return f"{key.rpartition('.')[0]}-preview.webp"
