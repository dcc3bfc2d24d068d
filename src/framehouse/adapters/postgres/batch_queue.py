"""The queue: batches are claimed, held by renewed leases, and given up. Results count once, whoever is late."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg

from framehouse.adapters.postgres.pool import Database, sql, storable_text
from framehouse.domain.element import Element
from framehouse.domain.reference import Reference
from framehouse.domain.shot import Shot

Saved = Literal["lost", "kept", "succeeded"]
"""Result of recording a shot: the claim was lost and nothing changed; it is recorded; it was the last of its task."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch that this worker holds, with all that is needed to paint it.

    `shots` are those still to be made; `elements` are as the task took them along; `ratio` is `auto` where a reference
    decides it; `attempt` counts from 1; `batch_size` counts the made ones too; `failing_s` is how long ago the first of
    the failures was that brought it back, by the database's clock; `notes` is what its routes' engines must remember
    (migration 0007); `route` is the one that is to go on with it (empty: the first).
    """

    id: int
    claim: UUID
    attempt: int
    task_id: UUID
    account_id: int
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
    notes: Mapping[str, Mapping[str, Any]]
    route: str


@dataclass(frozen=True, slots=True)
class Made:
    """One finished shot, stored."""

    index: int
    engine: str
    key: str
    watermark_key: str
    media_type: str
    width: int
    height: int


async def claim_batches(
    db: Database,
    *,
    worker: int,
    most: int,
    lease: timedelta,
    routes: Sequence[tuple[str, str]],
    task_id: UUID | None = None,
    ready: bool = False,
) -> list[Claimed]:
    """Take up to `most` due batches that wait for these routes, each with its model (of one task, if given; with
    `ready` only those whose pictures need neither be fetched nor checked), oldest first, and mark their tasks as
    processing. Two workers never get the same one; what a lost worker holds must be freed first."""
    models, names = [model for model, _ in routes], [name for _, name in routes]
    rows = await db.rows(
        sql("claim_batches"),
        worker=worker,
        limit=most,
        lease=lease,
        models=models,
        routes=names,
        claim=uuid4(),
        task_id=task_id,
        ready=ready,
    )
    if rows:
        await db.row("select start_tasks(:task_ids)", task_ids=sorted({row["task_id"] for row in rows}))
    return [_claimed(row) for row in rows]


async def renew_leases(db: Database, held: dict[int, tuple[UUID, float]], lease: timedelta) -> set[int]:
    """Keep these batches (id -> claim, progress 0..1); those still ours. The others were cancelled or lost."""
    rows = await db.rows(
        sql("renew_leases"),
        batch_ids=list(held),
        claims=[claim for claim, _ in held.values()],
        progress=[progress for _, progress in held.values()],
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
) -> None:
    """Give a batch back, to be claimed again `after` this by anybody who serves `route` (empty: its model's first;
    None: the one it waited for before). What has something under way stays with the route where that is."""
    await db.row(
        sql("release_batch"),
        batch_id=batch_id,
        claim=claim,
        after=after,
        error=storable_text(error) or None,
        count_attempt=count_attempt,
        route=route,
    )


async def settle_shot(
    db: Database, task_id: UUID, batch_id: int, claim: UUID, made: Made, retention: timedelta
) -> Saved:
    """Record one finished shot; the last one ends and charges the task."""
    saved: Saved = await db.value(
        sql("settle_shot"),
        task_id=task_id,
        batch_id=batch_id,
        claim=claim,
        index=made.index,
        engine=made.engine,
        key=made.key,
        watermark_key=made.watermark_key,
        media_type=made.media_type,
        width=made.width,
        height=made.height,
        retention=retention,
    )
    return saved


async def fail_batch(db: Database, batch_id: int, claim: UUID, message: str, retention: timedelta) -> bool:
    """End the batch's task as failed, charging nothing. False: the batch was lost meanwhile."""
    return bool(
        await db.value(
            "select fail_batch(:batch_id, :claim, :message, :retention)",
            batch_id=batch_id,
            claim=claim,
            message=storable_text(message),
            retention=retention,
        )
    )


async def first_image(db: Database, task_id: UUID) -> tuple[str, int, int] | None:
    """Key, width and height of a task's first picture, if it is made."""
    row = await db.row(
        "select key, width, height from shots where task_id = :task_id and index = 0 and painted_at is not null",
        task_id=task_id,
    )
    return (row["key"], row["width"], row["height"]) if row else None


async def save_open_order(db: Database, batch_id: int, claim: UUID, route: str, note: Mapping[str, Any] | None) -> bool:
    """Write down what a route's engine must remember of a claimed batch; None forgets it. False: the batch was lost."""
    text = None if note is None else json.dumps(note)
    return bool(await db.value(sql("save_open_order"), batch_id=batch_id, claim=claim, route=route, note=text))


async def batch_exists(db: Database, batch_id: int) -> bool:
    """Whether a batch is still to be made: false once its shots are, or its task has ended."""
    return bool(await db.value("select exists (select from batches where id = :batch_id)", batch_id=batch_id))


async def save_reference(db: Database, task_id: UUID, index: int, reference: Reference) -> Reference:
    """Remember where a fetched reference is stored; the one to use, which is another batch's where that was first."""
    row = await db.row(
        sql("save_reference"),
        task_id=task_id,
        index=index,
        key=reference.key,
        width=reference.width,
        height=reference.height,
    )
    assert row is not None
    return Reference(reference.url, row["key"], row["width"], row["height"])


async def keep_ratio(db: Database, task_id: UUID, ratio: str) -> str:
    """Remember the shape that a fetched reference decided; the one to use, decided by whoever was first."""
    kept = await db.value(
        "update tasks set ratio = case ratio when 'auto' then :ratio else ratio end "
        "where id = :task_id returning ratio",
        task_id=task_id,
        ratio=ratio,
    )
    return str(kept)


def _claimed(row: asyncpg.Record) -> Claimed:
    return Claimed(
        id=row["id"],
        claim=row["claim"],
        attempt=row["attempt"],
        task_id=row["task_id"],
        account_id=row["account_id"],
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
        notes=json.loads(row["notes"]),
        route=row["route"],
    )


def _element(id: int, name: str, description: str, images: list[dict[str, Any]]) -> Element:
    return Element(id, name, description, tuple(Reference(**image) for image in images))
