"""What an engine is: two questions and a goodbye. tests/engines/contract.py is what every engine must pass."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from framehouse.domain.model import takes_all
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine can do, known without loading a model.

    `max_batch`: shots of one task per call. `max_references`: a task with more images and elements goes to the next
    route, or fails with a reason; an element counts as one, however many pictures it has. `seeds`: the same seed gives
    the same picture. `cancel`: it stops within a second when it is told to.
    `refusal`: why a prompt is refused (None: it is taken), asked when a task is sent, so it answers at once and looks
    nowhere. Only a model's first engine is asked.
    """

    max_references: int
    max_batch: int = 1
    seeds: bool = True
    cancel: bool = True
    refusal: Callable[[str], str | None] = takes_all


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """A reference as the caller sent it: the jpg or png file, and its upright size in pixels. It was decoded to the end
    before; it may be grey, CMYK, 16 bit, transparent or a palette, and its EXIF data may turn it."""

    content: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SavedElement:
    """An element of the library: what it is called, what it is, and its pictures, the frontal one first. An engine uses
    as many of them as it can, at least that one."""

    name: str
    description: str
    images: tuple[ReferenceImage, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One call: the shots to make, of how many in the whole task, at which size, from which references and elements, in
    the order in which prompts cite them (`domain.prompt.prompt_parts`)."""

    task_id: str
    shots: tuple[Shot, ...]
    image_count: int
    size: Size
    references: tuple[ReferenceImage, ...] = ()
    elements: tuple[SavedElement, ...] = ()


@dataclass(frozen=True, slots=True)
class Painted:
    """A finished picture: (height, width, 3) uint8 RGB, of any size (it is fitted later), with facts of its making."""

    index: int
    pixels: NDArray[np.uint8]
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the call is, from 0 to 1."""

    share: float


class Engine(Protocol):
    """May raise only Declined, Broken, Unavailable and Unknown.

    `paint` yields each shot of the batch once, as soon as it is made, and progress in between. Closing the iterator or
    cancelling the task that reads it ends the work, within a second where `abilities().cancel` says so. One engine
    object serves many calls at once.
    """

    def abilities(self) -> Abilities: ...

    def paint(self, batch: Batch) -> AsyncIterator[Painted | Progress]: ...

    async def close(self) -> None: ...
