"""What one panel shows, read from its words: plain values, no pixels."""

import random
import zlib
from dataclasses import dataclass

from framehouse.domain.prompt import Cited
from framehouse.engines.previz.color import Color


@dataclass(slots=True)
class Subject:
    """One thing in the frame: a pictogram by name, or what the prompt cites.

    `relation` is what it has to do with the subject of the index `target`: it is riding, on, under, in, beside, front
    (before) or behind that one, or held or worn by it.
    """

    name: str = ""
    cited: Cited | None = None
    number: int = 1
    size: float = 1.0
    color: Color | None = None
    material: str = ""
    relation: str = ""
    target: int = -1


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the words decide. What they leave open is empty, and the seed decides it.

    `tints` are colours that the whole picture takes on; `chips` are nouns that no drawing stands for; `setting` is the
    reference that the words make the background; `people` is False where the words want none, and `unwanted` names
    drawings and weathers that they do not want.
    """

    backdrop: str = ""
    time: str = ""
    weather: str = ""
    season: str = ""
    mood: str = ""
    style: str = ""
    framing: str = ""
    tone: str = ""
    subjects: tuple[Subject, ...] = ()
    tints: tuple[Color, ...] = ()
    chips: tuple[str, ...] = ()
    setting: Cited | None = None
    people: bool = True
    unwanted: frozenset[str] = frozenset()
    caption: str = ""


def stream(seed: int, decision: str) -> random.Random:
    """Random numbers for one decision alone, so that another one more does not change it."""
    return random.Random(seed * 0x9E3779B1 + zlib.crc32(decision.encode()))
