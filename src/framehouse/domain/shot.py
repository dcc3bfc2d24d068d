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
    """The file of a generated image, and its watermarked copy. `watermarked` is empty if no watermark was requested."""

    content: bytes
    watermarked: bytes
    media_type: str
    size: Size
