"""One picture to be made."""

from dataclasses import dataclass

FRAMINGS = ("wide shot", "medium shot", "close-up", "over-the-shoulder shot", "low angle", "top view")
"""How a series looks at its subject, in this order and then from the start."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What one picture shows: its own words, the framing (empty where the words alone decide) and its seed."""

    index: int
    prompt: str
    framing: str
    seed: int
