"""The queue: batches are claimed, held by renewed leases, and given up. Results count once, whoever is late."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg

from framehouse.adapters.postgres.pool import Database, sql, told
from framehouse.domain.element import Element
from framehouse.domain.reference import Reference
from framehouse.domain.shot import Shot

BATCHES_CHANNEL = "framehouse_batches"
ENDED_CHANNEL = "framehouse_ended"
HASTEN_CHANNEL = "framehouse_hasten"


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
    rows = await db.rows(sql("claim_batches"), worker, most, lease, models, uuid4(), task_id, ready, names)
    if rows:
        await db.row("select start_tasks($1)", sorted({row["task_id"] for row in rows}))
    return [_claimed(row) for row in rows]


async def renew_leases(db: Database, held: dict[int, tuple[UUID, float]], lease: timedelta) -> set[int]:
    """Keep these batches (id -> claim, progress 0..1); those still ours. The others were cancelled or lost."""
    rows = await db.rows(
        sql("renew_leases"),
        list(held),
        [claim for claim, _ in held.values()],
        [progress for _, progress in held.values()],
        lease,
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
    await db.row(sql("release_batch"), batch_id, claim, after, told(error) or None, count_attempt, route)


@dataclass(frozen=True, slots=True)
class Quiet:
    """A held batch that looks as if nobody renewed it. The same again later: nobody did. `alive` tells whether its
    worker's connection lives; all connections are new after a restart of the server."""

    id: int
    claim: UUID
    lease_until: datetime
    server_started_at: datetime
    alive: bool = field(compare=False)


async def quiet_batches(db: Database, *, lease: timedelta, silence: timedelta) -> list[Quiet]:
    """Held batches whose lease does not look as if it was renewed within `silence`."""
    return [Quiet(**row) for row in await db.rows(sql("list_quiet_batches"), lease, silence)]


async def free_batches(db: Database, lost: Sequence[Quiet]) -> int:
    """Take these from whoever holds them, unless they were renewed since; how many are due again."""
    ids, claims, leases = [q.id for q in lost], [q.claim for q in lost], [q.lease_until for q in lost]
    return len(await db.rows(sql("free_batches"), ids, claims, leases))


async def mend_times(db: Database, longest_pause: timedelta) -> int:
    """Make due what waits only because the clock has gone back: batches, elements and callbacks; how many that were."""
    return int(await db.value(sql("mend_times"), longest_pause))


async def settle_shot(
    db: Database, task_id: UUID, batch_id: int, claim: UUID, made: Made, retention: timedelta
) -> Literal["lost", "kept", "succeeded"]:
    """Record one finished shot; the last one ends and charges the task. `lost`: nothing was changed."""
    answer = await db.value(
        "select settle_shot($1, $2, $3, $4::int::smallint, $5, $6, $7, $8, $9, $10, $11)",
        task_id,
        batch_id,
        claim,
        made.index,
        made.engine,
        made.key,
        made.watermark_key,
        made.media_type,
        made.width,
        made.height,
        retention,
    )
    if answer == "lost":
        return "lost"
    return "succeeded" if answer == "succeeded" else "kept"


async def fail_batch(db: Database, batch_id: int, claim: UUID, message: str, retention: timedelta) -> bool:
    """End the batch's task as failed, charging nothing. False: the batch was lost meanwhile."""
    return bool(await db.value("select fail_batch($1, $2, $3, $4)", batch_id, claim, told(message), retention))


async def first_picture(db: Database, task_id: UUID) -> tuple[str, int, int] | None:
    """Key, width and height of a task's first picture, if it is made."""
    row = await db.row(
        "select key, width, height from shots where task_id = $1 and index = 0 and painted_at is not null", task_id
    )
    return (row["key"], row["width"], row["height"]) if row else None


async def keep_note(db: Database, batch_id: int, claim: UUID, route: str, note: Mapping[str, Any] | None) -> bool:
    """Write down what a route's engine must remember of a claimed batch; None forgets it. False: the batch was lost."""
    text = None if note is None else json.dumps(note)
    return bool(await db.value(sql("keep_note"), batch_id, claim, route, text))


async def batch_exists(db: Database, batch_id: int) -> bool:
    """Whether a batch is still to be made: false once its shots are, or its task has ended."""
    return bool(await db.value("select exists (select from batches where id = $1)", batch_id))


async def keep_reference(db: Database, task_id: UUID, index: int, reference: Reference) -> Reference:
    """Remember where a fetched reference is stored; the one to use, which is another batch's where that was first."""
    row = await db.row(sql("keep_reference"), task_id, index, reference.key, reference.width, reference.height)
    assert row is not None
    return Reference(reference.url, row["key"], row["width"], row["height"])


async def keep_ratio(db: Database, task_id: UUID, ratio: str) -> str:
    """Remember the shape that a fetched reference decided; the one to use, decided by whoever was first."""
    kept = await db.value(
        "update tasks set ratio = case ratio when 'auto' then $2 else ratio end where id = $1 returning ratio",
        task_id,
        ratio,
    )
    return str(kept)


async def notify(db: Database, channel: str, payload: str) -> None:
    """Wake who listens. Sent apart from the transaction: inside, it takes a lock that all commits share. It is all that
    its own transaction does, and nothing is lost with it: that one need not wait for the disk."""
    await db.row("select pg_notify($1, $2), set_config('synchronous_commit', 'off', true)", channel, payload)


async def queue_figures(db: Database, task_id: UUID | None = None) -> list[Mapping[str, Any]]:
    """By model and route (empty: the model's first): how many batches wait for it and run, and the age in seconds of
    the oldest that is due. Of one task, if given."""
    return [dict(row) for row in await db.rows(sql("queue_figures"), task_id)]


async def tasks_in_flight(db: Database) -> dict[str, int]:
    """How many tasks have not ended, by model."""
    rows = await db.rows("select model, count(distinct task_id) as tasks from batches group by model")
    return {row["model"]: row["tasks"] for row in rows}


async def pinned_figures(db: Database) -> dict[tuple[str, str], int]:
    """How many batches have something under way, by model and route."""
    return {(row["model"], row["route"]): row["batches"] for row in await db.rows(sql("pinned_figures"))}


async def count_workers(db: Database) -> int:
    """How many workers live."""
    return int(await db.value(sql("count_workers")))


async def claim_unserved(
    db: Database,
    model: str,
    routes: Sequence[str],
    *,
    lease: timedelta,
    waited: timedelta,
    owed: bool,
    task_id: UUID | None = None,
) -> list[tuple[int, UUID, UUID]]:
    """Take batches that have waited for these routes for so long, in order to fail them: id, claim, task. With `owed`
    also those that have something under way there."""
    claim = uuid4()
    rows = await db.rows(sql("claim_unserved"), claim, lease, model, list(routes), waited, owed, task_id)
    return [(row["id"], claim, row["task_id"]) for row in rows]


async def go_on(db: Database) -> None:
    """Let what has something under way wait for the route where that is."""
    await db.row(sql("go_on"))


async def start_over(db: Database, model: str, route: str) -> None:
    """Let what waits for a route that does not exist any more begin with its model's first."""
    await db.row(sql("start_over"), model, route)


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
