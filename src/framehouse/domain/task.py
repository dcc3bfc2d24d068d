"""An image task: its request, its status and its images."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from framehouse.domain.expansion import Expansion
from framehouse.domain.reference import SentImage
from framehouse.domain.sizes import Size
from framehouse.domain.task_kind import TaskKind

Status = Literal["submitted", "processing", "succeed", "failed"]
ResultType = Literal["single", "series"]
OutputFormat = Literal["png", "jpeg", "webp"]
AcceptOutcome = Literal[
    "accepted",
    "replayed",
    "key_gone",
    "key_reused",
    "disabled",
    "external_taken",
    "element_gone",
    "over_concurrency",
    "over_units",
]
"""The possible results of an attempt to store a new task in the database."""
CANCELED = "Canceled"


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The parts of a request that only some kinds of tasks have.

    `negative_prompt` describes what must not be in the image. The two fidelities are numbers from 0 to 1. The higher
    `image_fidelity`, the more similar the new image must be to the reference. The higher `human_fidelity`, the more
    similar the faces must be to the faces in the reference. If a fidelity is None, the engine uses its own default.

    `size` is the exact size of the finished image in pixels. If it is None, the aspect ratio and the resolution of the
    task determine the size. `format` and `quality` (1 to 100) replace the settings for image files, unless they are
    None. PNG files have no quality.

    `partial_images` is the maximum number of partial images per shot (`pipeline.partial_images`). None means 0.
    """

    negative_prompt: str = ""
    image_fidelity: float | None = None
    human_fidelity: float | None = None
    expansion: Expansion | None = None
    size: Size | None = None
    format: OutputFormat | None = None
    quality: int | None = None
    partial_images: int | None = None


NO_OPTIONS = RequestOptions()


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request for an image task. All fields have been checked, but not the content of the images.

    `model` is the name of the model, even if the request contains an alias. `amount` is the value of `n` or
    `series_amount`. None means `auto`.
    """

    model: str
    prompt: str
    images: tuple[SentImage, ...] = ()
    elements: tuple[int, ...] = ()
    resolution: str = "1k"
    result_type: ResultType = "single"
    ratio: str = "auto"
    amount: int | None = 1
    watermark: bool = False
    callback_url: str = ""
    external_task_id: str = ""
    seed: int | None = None
    kind: TaskKind = "omni-image"
    options: RequestOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class TaskImage:
    """A finished image of a task.

    `key` is the storage key of the image. `watermark_key` is the storage key of the watermarked copy, or empty if there
    is no such copy. `thumb_hash` is the ThumbHash in base64. It is empty if the image has no
    preview, or if it was not requested.
    """

    index: int
    key: str
    watermark_key: str
    media_type: str
    width: int
    height: int
    thumb_hash: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the database stores it. Datetimes have a time zone. `progress` is between 0 and 1.

    `declined` is true if the task failed because of its request (`domain.outcome.Fail`).
    """

    id: UUID
    account_id: int
    external_task_id: str
    status: Status
    status_message: str
    model: str
    prompt: str
    result_type: ResultType
    image_count: int
    resolution: str
    ratio: str
    watermark: bool
    units_charged: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    progress: float
    elements: tuple[int, ...] = ()
    images: tuple[TaskImage, ...] = field(default=())
    kind: TaskKind = "omni-image"
    options: RequestOptions = NO_OPTIONS
    declined: bool = False

    @property
    def ended(self) -> bool:
        return self.status in ("succeed", "failed")


@dataclass(frozen=True, slots=True)
class Ticket:
    """The content of the response to an accepted request.

    `replayed` is true if an earlier request with the same idempotency key created the task.
    """

    task_id: UUID
    created_at: datetime
    external_task_id: str
    replayed: bool = False


def read_task_id(either_id: str) -> UUID | None:
    """Parse a task id. Returns None if the id is not a UUID. Such an id can only be an external id."""
    try:
        return UUID(either_id)
    except ValueError:
        return None


def new_task_id(now_ms: int, random: int) -> UUID:
    """Create a version 7 UUID (RFC 9562). These UUIDs are ordered by time, so new rows are adjacent in the index."""
    high = (now_ms & (1 << 48) - 1) << 16 | 0x7000 | (random >> 62) & 0xFFF
    return UUID(int=high << 64 | 0b10 << 62 | random & (1 << 62) - 1)
