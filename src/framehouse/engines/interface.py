"""The interface of an engine: its abilities, how it generates images, and its health check.

`framehouse.testing.engine_contract` contains the tests that every engine must pass.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from framehouse.domain.cost import Cost
from framehouse.domain.expansion import Box
from framehouse.domain.model import accept_every_prompt
from framehouse.domain.provenance import DigitalSourceType
from framehouse.domain.reference import ReferenceRole
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.domain.task import NO_OPTIONS, RequestOptions
from framehouse.domain.task_kind import TaskKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from framehouse.engines.image_files import ImageFile


@dataclass(frozen=True, slots=True)
class Abilities:
    """The abilities of an engine. They are known before a model is loaded or a request is sent.

    `max_references`: the largest number of references (images and elements) per task. A task with more references is
        passed to the next route, and fails if no route accepts the task. An element counts as one reference, regardless
        of its number of images.
    `max_batch`: the largest number of shots per call. All shots of a call belong to one task.
    `whole_series`: true if the engine must receive all shots of a series in one call, because it generates the later
        images from the first image.
    `concurrency`: the number of calls that the engine can process efficiently at the same time.
    `seeds`: true if the same seed always produces the same image.
    `cancel`: true if a cancelled call stops within a second.
    `negative_prompts`: true if the engine uses the negative prompt of a batch.
    `fidelities`: true if the engine uses the fidelities of a batch (`RequestOptions`).
    `expansions`: true if the engine can expand an image. An engine without this ability never receives a batch with a
        `box`.
    `masks`: true if the engine can edit only the masked area of an image. An engine without this ability never receives
        a batch with a `mask`.
    `masked_references`: the largest number of references and elements of a batch with a mask. The edited image counts
        as one reference, but the mask does not count. This value replaces `max_references` for such batches.
    `needs_reference`: true if the engine cannot generate an image from text alone.
    `paid`: true if an image may cost money.
    `source_type`: how the pixels are made (`domain.provenance`). The metadata of the images contains this value.
    `refusal`: a function that returns the reason to refuse a prompt, or None to accept the prompt. When a client
        submits a task, the API calls the `refusal` function of the first route's engine. The function must return
        immediately and must not do I/O.
    """

    max_references: int
    max_batch: int = 1
    whole_series: bool = False
    concurrency: int = 2
    seeds: bool = True
    cancel: bool = True
    negative_prompts: bool = False
    fidelities: bool = False
    expansions: bool = False
    masks: bool = False
    masked_references: int = 1
    needs_reference: bool = False
    paid: bool = False
    source_type: DigitalSourceType = "trainedAlgorithmicMedia"
    refusal: Callable[[str], str | None] = accept_every_prompt


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """A reference as the client sent it: the file, and its size in pixels after the EXIF rotation.

    The file is a JPEG, PNG, WebP, AVIF or HEIC file. A worker has already decoded it completely. The image may be
    rotated, greyscale, CMYK, 16-bit, transparent or palette-based, may have a colour profile, and may have damaged
    metadata. `image_files.decode_reference_rgb` returns the pixels that a browser shows, and `plain_file.plain_file`
    returns a file for an upstream. The prompts of the shots describe the role of the reference in words, so an engine
    can ignore `role`.
    """

    content: bytes
    width: int
    height: int
    role: ReferenceRole = ""


@dataclass(frozen=True, slots=True)
class SavedElement:
    """A saved element: its name, its description and its images. The first image is the frontal image.

    An engine uses the frontal image, and as many of the other images as it can.
    """

    name: str
    description: str
    images: tuple[ReferenceImage, ...]


class BatchLost(Exception):
    """Raised when another worker has claimed the batch, or when the task of the batch has ended.

    An engine must not catch this error.
    """


class OpenOrder(Protocol):
    """The record of an order that an engine places with an upstream. The record survives a crash of the worker.

    An engine saves the record before it places the order. If a worker later passes the same batch to the engine again,
    the batch contains the saved record.

    While a saved record exists, the batch stays on the route of this engine. Without a saved record, any route may
    generate the batch. The engine raises `Unknown` if the response to a request was lost. If a saved record exists when
    the engine raises `Unknown`, the route is tried again later. Otherwise, the task fails.
    """

    @property
    def data(self) -> Mapping[str, Any]:
        """The data that was last saved. The data is empty until `save` is called for the first time."""
        ...

    async def save(self, data: Mapping[str, Any]) -> None:
        """Replace the data and commit the change before returning. The data must be serializable as JSON.

        Saving empty data makes the batch available to other routes. Raises BatchLost.
        """
        ...

    async def give_up(self, reason: str) -> None:
        """Exclude this route for this batch, and make the batch available to other routes. Raises BatchLost."""
        ...

    async def take_places(self, account: str, places: int, *, limit: int | None) -> int | None:
        """Count `places` images of this batch as in flight for an account at the upstream, over all workers.

        The places replace the batch's previous places for this account. Returns the number of places of other batches.
        Returns None, and counts nothing, if other batches have places and the sum would exceed `limit`. The places end
        when `release_places` is called, when the batch ends, or after 15 minutes. Raises BatchLost.
        """
        ...

    async def release_places(self, account: str) -> None:
        """End the places of this batch for an account."""
        ...

    async def take_request(self, account: str, *, per_minute: int) -> float:
        """Count a request of an account that may send at most `per_minute` requests within any minute.

        Returns 0, or the number of seconds until the account may send the next request. The count includes the requests
        of all workers.
        """
        ...

    async def is_wanted(self) -> bool:
        """Return whether the images are still needed. They are no longer needed after the task has ended."""
        ...

    @property
    def upstream_callback_url(self) -> str | None:
        """The URL to which the upstream can send a POST request to end `pause` early.

        The value is None if the public address of this server is not configured.
        """
        ...

    async def pause(self, seconds: float) -> None:
        """Sleep for `seconds`, or until the upstream calls `upstream_callback_url`."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """The input of one call: the shots to generate, their size, and the references and elements to use.

    `image_count` is the total number of images in the task. References and elements are ordered by the numbers that
    prompts use to cite them (`domain.prompt.prompt_parts`). `prompt` is the prompt of the task. Each shot also has
    its own prompt. `series` is true if the images of the task belong together. `first_frame` is the first image of a
    series, if that image already exists. The engine generates the later images to match the first frame.

    `kind` is the kind of the task, which corresponds to an API endpoint (`domain.task_kind`). `options` contains the
    negative prompt and the fidelities. If `box` is not None, the first reference must be expanded. In this case, `size`
    is the size of the expanded image, and `box` is the area of the expanded image that the reference occupies. The
    worker later copies the pixels of the reference into this area.

    If `mask` is not None, only a part of the first reference must be edited. The file of the mask is a PNG file with
    8-bit greyscale pixels. It has the size of the first reference in pixels, after the EXIF rotation of the reference.
    The value 255 marks the pixels to generate, and the value 0 marks the pixels to keep. At least one pixel has each of
    these values, and there are no other values. `size` may have sides of any length. The generated image shows the
    complete first reference, cropped at its centre to the aspect ratio of `size`. `masked_canvas.draw_masked_canvas`
    crops and scales the reference and the mask. The worker later replaces all pixels outside the mask by the pixels of
    the reference.
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
    kind: TaskKind = "omni-image"
    options: RequestOptions = NO_OPTIONS
    box: Box | None = None
    mask: ReferenceImage | None = None


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """A generated image: a uint8 RGB array of shape (height, width, 3), or the file of an upstream.

    The image may have any size, because the worker resizes it. The worker adds `facts` to the metadata of the image. An
    engine can return an upstream's file unchanged (`image_files.read_answer`). If the file already has the requested
    size, the worker usually does not have to decode the file.

    `cost` is the cost of this image that the upstream has reported, or None. For a request with several images, it is
    the share of this image (`domain.cost.divide_cost`).
    """

    index: int
    image: "NDArray[np.uint8] | ImageFile"
    facts: dict[str, object] = field(default_factory=dict)
    cost: Cost | None = None

    @property
    def pixels(self) -> "NDArray[np.uint8]":
        from framehouse.engines.image_files import (
            ImageFile,  # imported here, because the API process never decodes images
        )

        return self.image.decoded() if isinstance(self.image, ImageFile) else self.image


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a call. `share` is the completed fraction, from 0 to 1.

    `preview` is a JPEG or PNG file of any size that shows the unfinished image of the shot `index`, or None. The worker
    uses previews only if `RequestOptions.partial_images` of the batch is at least 1.
    """

    share: float
    preview: bytes | None = None
    index: int | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The health of one dependency of an engine, such as a server, an account or a GPU.

    `subject` names the dependency. `reason` describes the state of the dependency in one sentence. `advice` describes
    in one sentence what an operator can do.
    """

    subject: str
    ok: bool
    reason: str
    advice: str = ""


class Engine(Protocol):
    """The interface of an engine, which generates images.

    `generate` yields the image of each shot once, as soon as the image is ready, and yields Progress in between.
    `generate` raises only Postponed, Declined, Broken, Unavailable and Unknown, and does not catch BatchLost.
    Generation stops if the iterator is closed, or if the asyncio task that reads the iterator is cancelled. If
    `abilities().cancel` is true, generation stops within one second.

    One engine object processes many calls at the same time. The API process also creates engines, but calls only
    `abilities` and `close`. An engine must not load a model or send a request before `generate`, `check` or `prepare`
    is called, and must not load a model in `check`.

    An engine that depends on a server, an account or a device may have two additional methods:

        async def check(self) -> list[HealthCheck]: ...
        async def prepare(self) -> None: ...

    `check` checks every dependency, must not incur costs, and must not raise an exception. A worker calls `check` every
    30 seconds. The first call may take up to a minute. `prepare` starts the work that `generate` would otherwise have
    to do first, such as loading a model. It does not wait for the end of this work, and must not raise an exception. A
    worker calls `prepare` before each call to `check`. `framehouse doctor` calls only `check`.
    """

    def abilities(self) -> Abilities: ...

    def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]: ...

    async def close(self) -> None: ...
