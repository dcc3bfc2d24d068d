"""The content of one panel as plain values. The module `reading` derives these values from the prompt."""

import random
import zlib
from dataclasses import dataclass

from framehouse.domain.prompt import Cited
from framehouse.engines.previz.color import Color


@dataclass(slots=True)
class Subject:
    """One subject in the frame: a pictogram, or a cited reference or element.

    `name` is the name of the pictogram. `number` is the number of copies. `relation` is the relation of this subject to
    the subject with the index `target`: "riding", "on", "under", "in", "beside", "front", "behind", "held" or "worn".
    For example, "held" means that `target` holds this subject.
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
    """The content that the prompt specifies.

    If the prompt does not specify a value, the value is empty. Some of the empty values, for example the backdrop, are
    filled later, depending on the seed.

    `tints`: colours for the entire image.
    `chips`: the nouns in the prompt that have no drawing, or whose drawing shows only a part of their meaning. The
        panel shows these nouns as text.
    `setting`: the reference or element that the prompt uses as the background.
    `people`: false if the prompt excludes people.
    `unwanted`: the names of drawings and weather conditions that the prompt excludes.
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
    """Return a random number generator for one decision.

    Each decision has an independent generator. Therefore, adding code for a new decision does not change the results
    of the other decisions.
    """
    return random.Random(seed * 0x9E3779B1 + zlib.crc32(decision.encode()))
