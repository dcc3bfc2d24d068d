"""One image of a task: what it shows, and the files that it becomes."""

from dataclasses import dataclass

from framehouse.domain.sizes import Size

FRAMINGS = ("wide shot", "medium shot", "close-up", "over-the-shoulder shot", "low angle", "top view")
"""How a series looks at its subject, in this order and then from the start."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What one picture shows: its own words, the framing (empty where the words alone decide) and its seed."""

    index: int
    prompt: str
    framing: str
    seed: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The file of a generated image, and its watermarked copy (empty if none was requested)."""

    content: bytes
    marked: bytes
    media_type: str
    size: Size
