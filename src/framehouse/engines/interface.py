"""What an engine is: abilities, generation and closing. `framehouse.testing.engine_contract` tests every engine."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from framehouse.domain.model import takes_all
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from framehouse.engines.image_files import Png


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine can do, known without loading a model or asking anybody.

    `max_batch`: shots of one task per call. `max_references`: a task with more images and elements goes to the next
    route, or fails with a reason; an element counts as one, however many pictures it has. `whole_series`: it is given
    all of a series in one call, for its later pictures look at the first. `at_once`: calls that it is well served with
    side by side. `seeds`: the same seed gives the same picture. `cancel`: it stops within a second when it is told to.
    `refusal`: why a prompt is refused (None: it is taken), asked when a task is sent, so it answers at once and looks
    nowhere. Only a model's first engine is asked.
    """

    max_references: int
    max_batch: int = 1
    whole_series: bool = False
    at_once: int = 2
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


class BatchLost(Exception):
    """The batch is somebody else's by now, or its task has ended. An engine lets it pass."""


class Memory(Protocol):
    """What an engine must still know of a batch when it is called again, after a crash and in another process.

    For engines that order pictures elsewhere: they keep a note before they order, and find it again. While a note is
    open, the batch stays with this route whatever happens, and `Unknown` means that it will be asked again later. What
    has no note is not pinned: there, `Unknown` is final.
    """

    @property
    def note(self) -> Mapping[str, Any]:
        """What was kept last; empty at first."""
        ...

    async def keep(self, note: Mapping[str, Any]) -> None:
        """Write a note (what JSON can hold) over the one of before; it is committed when this returns. An empty note
        frees the batch for other routes. Raises BatchLost."""
        ...

    async def give_up(self, why: str) -> None:
        """This route is never asked again for this batch, now free for other routes. Raises BatchLost."""
        ...

    async def wanted(self) -> bool:
        """Whether anybody may still want the batch: false once its task has ended."""
        ...

    @property
    def hasten_url(self) -> str | None:
        """A POST to this URL ends `pause` early. None: this server does not know how others reach it."""
        ...

    async def pause(self, seconds: float) -> None:
        """Sleep so long, or until somebody hastens it."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """One call: the shots to make, of how many in the whole task, at which size, from which references and elements, in
    the order in which prompts cite them (`domain.prompt.prompt_parts`).

    `prompt` is the task's own, of which each shot has its words; `series` says that the pictures belong together.
    `first_frame` is a series' first picture where it is made already and later ones are to be made to match: a file.
    """

    task_id: str
    shots: tuple[Shot, ...]
    image_count: int
    size: Size
    references: tuple[ReferenceImage, ...] = ()
    elements: tuple[SavedElement, ...] = ()
    model: str = ""
    prompt: str = ""
    series: bool = False
    first_frame: ReferenceImage | None = None
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Painted:
    """A finished picture, (height, width, 3) uint8 RGB, of any size (it is fitted later), with facts of its making.

    One that an upstream made may stay the file that it came as (`pictures.read_answer`): that has the right size most
    of the time and need not be decoded then.
    """

    index: int
    picture: "NDArray[np.uint8] | Png"
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def pixels(self) -> "NDArray[np.uint8]":
        from framehouse.engines.image_files import Png  # here, for who only asks what an engine can do

        return self.picture.decoded() if isinstance(self.picture, Png) else self.picture


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the call is, from 0 to 1."""

    share: float


@dataclass(frozen=True, slots=True)
class Check:
    """Something that an engine depends on (a server, an account, a card), whether it can be used now, and in one
    sentence how it is; `do` is what an operator can do about it."""

    what: str
    fit: bool
    told: str
    do: str = ""


class Engine(Protocol):
    """May raise only Declined, Broken, Unavailable and Unknown.

    `paint` yields each shot of the batch once, as soon as it is made, and progress in between. Closing the iterator or
    cancelling the task that reads it ends the work, within a second where `abilities().cancel` says so. One engine
    object serves many calls at once. It is made in the API's process too, which only asks for its abilities: nothing
    heavy is loaded, and nobody is asked, before `paint` or `check`.

    An engine that depends on something else may also have

        async def check(self) -> list[Check]: ...

    It looks at all of it, costs nothing, raises nothing, and is asked every half a minute; at the first time it may
    take a minute.
    """

    def abilities(self) -> Abilities: ...

    def paint(self, batch: Batch) -> AsyncIterator[Painted | Progress]: ...

    async def close(self) -> None: ...
