"""The interface of an engine: abilities, generation and health. `framehouse.testing.engine_contract` tests it."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from framehouse.domain.model import accept_every_prompt
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from framehouse.engines.image_files import Png


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine can do; known without loading a model or sending a request.

    `max_batch`: shots of one task per call. `max_references`: a task with more images and elements is given to the next
    route, or fails with a reason; an element counts as one, however many images it has. `whole_series`: the engine gets
    all shots of a series in one call, because later images are generated from the first. `concurrency`: calls that the
    engine handles well at the same time. `seeds`: the same seed gives the same image. `cancel`: a cancelled call stops
    within a second. `refusal`: returns the reason for refusing a prompt, or None to accept it; the API calls it for a
    model's first engine when a task is submitted, so it must return immediately and must not do any I/O.
    """

    max_references: int
    max_batch: int = 1
    whole_series: bool = False
    concurrency: int = 2
    seeds: bool = True
    cancel: bool = True
    refusal: Callable[[str], str | None] = accept_every_prompt


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """A reference as the caller sent it: the JPEG or PNG file, and its upright size in pixels.

    The file has been decoded completely before. It may be grey, CMYK, 16 bit, transparent or a palette image, and its
    EXIF data may rotate it.
    """

    content: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SavedElement:
    """An element of the library: its name, its description and its images, with the frontal image first.

    An engine uses as many of the images as it can, and at least the frontal one.
    """

    name: str
    description: str
    images: tuple[ReferenceImage, ...]


class BatchLost(Exception):
    """Another worker has the batch now, or its task has ended. An engine does not catch it."""


class OpenOrder(Protocol):
    """The record of an order that an engine places with an upstream; it survives a crash of the worker.

    An engine saves the record before it places the order, and finds it again when the batch is given to it by another
    process. While a record is saved, the batch stays with this route, and `Unknown` means that the route will be tried
    again later. Without a saved record the batch may go to any route, and `Unknown` is final.
    """

    @property
    def data(self) -> Mapping[str, Any]:
        """The data that was saved last; empty at first."""
        ...

    async def save(self, data: Mapping[str, Any]) -> None:
        """Replace the data, which must be serializable as JSON; it is committed when this method returns.

        Empty data releases the batch for other routes. Raises BatchLost.
        """
        ...

    async def give_up(self, reason: str) -> None:
        """Exclude this route for this batch and release the batch for other routes. Raises BatchLost."""
        ...

    async def is_wanted(self) -> bool:
        """Whether the images may still be needed: false after the task has ended."""
        ...

    @property
    def upstream_callback_url(self) -> str | None:
        """A POST to this URL ends `pause` early. None if this server does not know its own public address."""
        ...

    async def pause(self, seconds: float) -> None:
        """Sleep for `seconds`, or until woken."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one call: the shots to generate, their size, and the references and elements to use.

    `image_count` is the number of images of the whole task. References and elements are in the order in which prompts
    cite them (`domain.prompt.prompt_parts`). `prompt` is the task's whole prompt; each shot has its own part of it.
    `series` says that the images belong together. `first_frame` is the first image of a series if it exists already;
    the later images are generated to match it.
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
    open_order: OpenOrder | None = None


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """A finished image, (height, width, 3) uint8 RGB, of any size: it is resized later. `facts` go into its metadata.

    An image from an upstream may stay the file that was received (`image_files.read_answer`). Such a file usually has
    the right size and then never has to be decoded.
    """

    index: int
    image: "NDArray[np.uint8] | Png"
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def pixels(self) -> "NDArray[np.uint8]":
        from framehouse.engines.image_files import Png  # imported late: the API process never decodes images

        return self.image.decoded() if isinstance(self.image, Png) else self.image


@dataclass(frozen=True, slots=True)
class Progress:
    """The completed share of a call, from 0 to 1."""

    share: float


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The health of one thing that an engine depends on: a server, an account, a GPU.

    `reason` describes its state in one sentence. `advice` says what an operator can do about it.
    """

    subject: str
    ok: bool
    reason: str
    advice: str = ""


class Engine(Protocol):
    """Generates images. May raise only Declined, Broken, Unavailable and Unknown.

    `generate` yields each shot of the batch once, as soon as it is ready, and progress in between. Closing the iterator
    or cancelling the task that reads it stops the work, within a second if `abilities().cancel` is true. One engine
    object handles many calls at the same time. The API process creates engines too, but only calls `abilities`; an
    engine must not load a model or send a request before `generate` or `check` is called.

    An engine that depends on something else may also have

        async def check(self) -> list[HealthCheck]: ...

    It checks every dependency, causes no costs and raises nothing. Workers call it every half minute. The first call
    may take a minute.
    """

    def abilities(self) -> Abilities: ...

    def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]: ...

    async def close(self) -> None: ...
