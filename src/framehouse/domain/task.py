"""A task: what the caller asked for, and what became of it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from framehouse.domain.reference import Sent

Status = Literal["submitted", "processing", "succeed", "failed"]
ResultType = Literal["single", "series"]
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
"""The results of offering a task to the database."""
CANCELED = "Canceled"


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request that met every rule that needs no look at the pictures themselves.

    `images` are as sent (URL, data URL or base64). `amount` is `n` or `series_amount`, None for `auto`.
    """

    model: str
    prompt: str
    images: tuple[Sent, ...] = ()
    elements: tuple[int, ...] = ()
    resolution: str = "1k"
    result_type: ResultType = "single"
    ratio: str = "auto"
    amount: int | None = 1
    watermark: bool = False
    callback_url: str = ""
    external_task_id: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class TaskImage:
    """One finished picture of a task, by its place in storage."""

    index: int
    key: str
    watermark_key: str
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands in the database. Times are aware; `progress` runs from 0 to 1."""

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

    @property
    def ended(self) -> bool:
        return self.status in ("succeed", "failed")


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the caller gets at once. `replayed`: the idempotency key was known, and this is the first task again."""

    task_id: UUID
    created_at: datetime
    external_task_id: str
    replayed: bool = False


def read_task_id(either_id: str) -> UUID | None:
    """The task id that this is, or None: then it can only be an external id."""
    try:
        return UUID(either_id)
    except ValueError:
        return None


def new_task_id(now_ms: int, random: int) -> UUID:
    """A version 7 UUID (RFC 9562): sorted by time, so that new rows stand together in the index."""
    high = (now_ms & (1 << 48) - 1) << 16 | 0x7000 | (random >> 62) & 0xFFF
    return UUID(int=high << 64 | 0b10 << 62 | random & (1 << 62) - 1)
