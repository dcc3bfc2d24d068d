"""The content of one panel as plain values, read from the prompt."""

import random
import zlib
from dataclasses import dataclass

from framehouse.domain.prompt import Cited
from framehouse.engines.previz.color import Color


@dataclass(slots=True)
class Subject:
    """One subject in the frame: a pictogram by its name, or a cited reference or element.

    `relation` relates this subject to the subject with the index `target`. It is "riding", "on", "under", "in",
    "beside", "front", "behind", "held" or "worn"; for example, "held" means that `target` holds this subject.
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
    """The content that the prompt specifies. A value that the prompt does not specify is empty; the seed selects it.

    `tints` are colours for the whole image. `chips` are nouns without a drawing. `setting` is the reference that the
    prompt uses as the background. `people` is False if the prompt excludes people. `unwanted` contains the names of
    drawings and weathers that the prompt excludes.
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
    """Random numbers for one decision. Decisions are independent: an additional one does not change the others."""
    return random.Random(seed * 0x9E3779B1 + zlib.crc32(decision.encode()))
