"""The queue of batches. Workers claim batches, renew their leases, and complete, release or fail the batches.

A worker can change a batch only while it has the current claim. A late worker's result is discarded.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg

from framehouse.adapters.postgres.new_task import options_from_json
from framehouse.adapters.postgres.pool import Database, sql, storable_text
from framehouse.domain.cost import Cost
from framehouse.domain.element import Element
from framehouse.domain.reference import Reference
from framehouse.domain.routing import BatchFilter
from framehouse.domain.shot import Shot
from framehouse.domain.task import RequestOptions
from framehouse.domain.task_kind import TaskKind

Saved = Literal["lost", "kept", "succeeded"]
"""The result of `settle_shot`.

`lost` means that nothing was changed, because the worker has lost the claim or the task has ended. `kept` means that
the shot has an image, but other shots of the task have none yet. `succeeded` means that all shots of the task have
images, so the task has succeeded.
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch that a worker has claimed, with all data that is needed to generate its images.

    `attempt` counts from 1. `elements` contains copies of the elements. The copies were saved with the task. `ratio` is
    `auto` if the aspect ratio depends on an image and has not been determined yet. `shots` contains the shots that have
    no image yet. `batch_size` is the total number of shots in the batch, including the finished shots. `failing_s` is
    the number of seconds since the batch first failed, or 0 if the batch has not failed. This time is measured by the
    database's clock. `open_orders` maps a route to `{"note": the data of its open order}` or
    `{"given_up": the reason}`. `route` is the name of the route for which the batch has waited. The worker tries this
    route first. An empty name means the model's first route.
    """

    id: int
    claim: UUID
    attempt: int
    task_id: UUID
    account_id: int
    kind: TaskKind
    options: RequestOptions
    model: str
    prompt: str
    elements: tuple[Element, ...]
    result_type: str
    image_count: int
    resolution: str
    ratio: str
    watermark: bool
    created_at: datetime
    shots: tuple[Shot, ...]
    references: tuple[Reference, ...]
    batch_size: int
    last_error: str
    failing_s: float
    open_orders: Mapping[str, Mapping[str, Any]]
    route: str


@dataclass(frozen=True, slots=True)
class StoredShot:
    """A finished shot, with the storage keys and the size in pixels of its image.

    `watermark_key` is empty if no watermarked copy exists. `thumb_hash` is the ThumbHash of the image in base64, or
    empty. `cost` is what the image cost the operator, or None. `perceptual_hash` has 32 bytes or is empty.
    """

    index: int
    engine: str
    key: str
    watermark_key: str
    media_type: str
    width: int
    height: int
    thumb_hash: str = ""
    cost: Cost | None = None
    perceptual_hash: bytes = b""


async def claim_batches(
    db: Database,
    *,
    worker: int,
    limit: int,
    lease: timedelta,
    routes: Sequence[tuple[str, str]],
    task_id: UUID | None = None,
    ready: bool = False,
    ready_accounts: Sequence[int] = (),
    filters: Mapping[tuple[str, str], BatchFilter] = MappingProxyType({}),
    max_batches: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> list[Claimed]:
    """Claim up to `limit` due batches, and mark their tasks as processing. The accounts are served in turn.

    `routes` contains pairs of a model and a route. Only batches that wait for one of these routes are claimed.
    `task_id` restricts the claim to one task. `ready` restricts the claim to batches whose references have all been
    fetched and checked. For the accounts in `ready_accounts`, the claim always has this restriction. `filters`
    restricts the claim for some routes. `max_batches` is the maximum number of batches of a route, except batches with
    an open order. Two workers never claim the same batch. Another worker can claim the batch of a dead worker only
    after the batch has been requeued.
    """
    models, names = [model for model, _ in routes], [name for _, name in routes]
    rows = await db.rows(
        sql("claim_batches"),
        worker=worker,
        limit=limit,
        lease=lease,
        models=models,
        routes=names,
        claim=uuid4(),
        task_id=task_id,
        ready=ready,
        ready_accounts=list(ready_accounts),
        filters=[filters.get(route, "all") for route in routes],
        max_batches=[max_batches.get(route) for route in routes],
    )
    if rows:
        await db.row("select start_tasks(:task_ids)", task_ids=sorted({row["task_id"] for row in rows}))
    return [_claimed(row) for row in rows]


async def renew_leases(db: Database, batches: dict[int, tuple[UUID, float]], lease: timedelta) -> set[int]:
    """Renew the leases of `batches` and save their progress. Returns the ids of the batches whose claim is still valid.

    `batches` maps a batch id to the claim and the progress of the batch. The progress is a number from 0 to 1. If the
    id of a batch is missing from the result, its task has ended or the worker has lost the claim.
    """
    rows = await db.rows(
        sql("renew_leases"),
        batch_ids=list(batches),
        claims=[claim for claim, _ in batches.values()],
        progress=[progress for _, progress in batches.values()],
        lease=lease,
    )
    return {row["id"] for row in rows}


async def release_batch(
    db: Database,
    batch_id: int,
    claim: UUID,
    *,
    after: timedelta,
    error: str = "",
    count_attempt: bool = True,
    route: str | None = None,
    progress: float = 0.0,
) -> None:
    """Release a batch. Any worker that serves `route` can claim the batch when the period `after` has passed.

    An empty `route` means the model's first route. None means the current route. A batch with an open order is assigned
    to the route of that order. If `error` is empty, the saved error does not change. If `count_attempt` is false, the
    attempt is not counted. `progress` is a number from 0 to 1. Changes nothing if the worker has lost the claim.
    """
    await db.row(
        sql("release_batch"),
        batch_id=batch_id,
        claim=claim,
        after=after,
        error=storable_text(error) or None,
        count_attempt=count_attempt,
        route=route,
        progress=progress,
    )


async def settle_shot(
    db: Database, task_id: UUID, batch_id: int, claim: UUID, shot: StoredShot, retention: timedelta
) -> Saved:
    """Save one finished shot. When all shots of the task are saved, the task succeeds and its account is charged."""
    saved: Saved = await db.value(
        sql("settle_shot"),
        task_id=task_id,
        batch_id=batch_id,
        claim=claim,
        index=shot.index,
        engine=shot.engine,
        key=shot.key,
        watermark_key=shot.watermark_key,
        media_type=shot.media_type,
        width=shot.width,
        height=shot.height,
        thumb_hash=shot.thumb_hash,
        cost=shot.cost.amount if shot.cost else None,
        currency=shot.cost.currency if shot.cost else None,
        perceptual_hash=shot.perceptual_hash or None,
        retention=retention,
    )
    return saved


async def fail_batch(
    db: Database, batch_id: int, claim: UUID, message: str, retention: timedelta, *, declined: bool = False
) -> bool:
    """Mark the task of a batch as failed, without a charge. Returns False if the worker has lost the claim.

    `declined` is true if the task failed because of its request.
    """
    return bool(
        await db.value(
            "select fail_batch(:batch_id, :claim, :message, :retention, :declined)",
            batch_id=batch_id,
            claim=claim,
            message=storable_text(message),
            retention=retention,
            declined=declined,
        )
    )


async def first_image(db: Database, task_id: UUID) -> tuple[str, int, int] | None:
    """Return the storage key, width and height of a task's first image.

    Returns None if the image has not been generated yet.
    """
    row = await db.row(
        "select key, width, height from shots where task_id = :task_id and index = 0 and painted_at is not null",
        task_id=task_id,
    )
    return (row["key"], row["width"], row["height"]) if row else None


async def save_open_order(
    db: Database, batch_id: int, claim: UUID, route: str, order: Mapping[str, Any] | None
) -> bool:
    """Save the state of a batch's open order on a route, or delete the state if `order` is None.

    `order` has the form of the values of `Claimed.open_orders`. Returns False if the worker has lost the claim.
    """
    text = None if order is None else json.dumps(order)
    return bool(await db.value(sql("save_open_order"), batch_id=batch_id, claim=claim, route=route, stored_order=text))


async def batch_exists(db: Database, batch_id: int) -> bool:
    """Return whether a batch still has shots to generate.

    Returns False if all shots of the batch have been saved, or if the task has ended.
    """
    return bool(await db.value("select exists (select from batches where id = :batch_id)", batch_id=batch_id))


async def save_reference(db: Database, task_id: UUID, index: int, reference: Reference) -> Reference:
    """Save the storage key and the size of a fetched reference. Returns the reference that the batch must use.

    If another batch of the task has already saved a copy of this reference, the returned reference refers to that copy.
    """
    row = await db.row(
        sql("save_reference"),
        task_id=task_id,
        index=index,
        key=reference.key,
        width=reference.width,
        height=reference.height,
    )
    assert row is not None
    return replace(reference, key=row["key"], width=row["width"], height=row["height"])


async def save_ratio(db: Database, task_id: UUID, ratio: str) -> str:
    """Save the aspect ratio that a fetched reference determines, unless the task already has an aspect ratio.

    Returns the aspect ratio of the task.
    """
    saved_ratio = await db.value(
        "update tasks set ratio = case ratio when 'auto' then :ratio else ratio end "
        "where id = :task_id returning ratio",
        task_id=task_id,
        ratio=ratio,
    )
    return str(saved_ratio)


def _claimed(row: asyncpg.Record) -> Claimed:
    return Claimed(
        id=row["id"],
        claim=row["claim"],
        attempt=row["attempt"],
        task_id=row["task_id"],
        account_id=row["account_id"],
        kind=row["kind"],
        options=options_from_json(json.loads(row["options"])),
        model=row["model"],
        prompt=row["prompt"],
        elements=tuple(_element(**element) for element in json.loads(row["elements"])),
        result_type=row["result_type"],
        image_count=row["image_count"],
        resolution=row["resolution"],
        ratio=row["ratio"],
        watermark=row["watermark"],
        created_at=row["created_at"],
        shots=tuple(Shot(**shot) for shot in json.loads(row["shots"])),
        references=tuple(Reference(**reference) for reference in json.loads(row["refs"])),
        batch_size=len(row["shot_indexes"]),
        last_error=row["last_error"] or "",
        failing_s=row["failing_s"],
        open_orders=json.loads(row["notes"]),
        route=row["route"],
    )


def _element(id: int, name: str, description: str, images: list[dict[str, Any]]) -> Element:
    return Element(id, name, description, tuple(Reference(**image) for image in images))
