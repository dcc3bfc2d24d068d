"""Saved elements in Postgres: created, made under a lease, read, deleted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import asyncpg

from framehouse.adapters.postgres.pool import Database, sql, storable_text
from framehouse.adapters.postgres.reference_store import reference_columns
from framehouse.domain.element import Element, ElementTask
from framehouse.domain.reference import Reference
from framehouse.domain.task import read_task_id


@dataclass(frozen=True, slots=True)
class NewElement:
    """An element that is to be created. `images` come with the fields in which they were sent. `idempotency` is the
    caller's key and the hash of the body."""

    task_id: UUID
    element_id: int
    account_id: int
    name: str
    description: str
    tags: tuple[str, ...]
    images: tuple[tuple[str, Reference], ...]
    external_task_id: str = ""
    callback_url: str = ""
    idempotency: tuple[str, bytes] | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """Answer to an offered element."""

    outcome: Literal["accepted", "replayed", "key_reused", "external_taken"]
    task_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ClaimedElement:
    """An element to be made that this element_worker holds; `attempt` counts from 1."""

    task: ElementTask
    claim: UUID
    attempt: int
    last_error: str


async def create_element(db: Database, element: NewElement) -> Created:
    """Offer an element. Running twice with the same task id accepts it once."""
    answer = await db.row("select * from create_element(:row::text::jsonb)", row=json.dumps(_row(element)))
    assert answer is not None
    return Created(answer["outcome"], answer["task_id"], answer["created_at"])


async def find_element(db: Database, account_id: int, any_id: str, element_id: int) -> ElementTask | None:
    """An element of this account by task id or external id, or, if it is not deleted, by element id."""
    row = await db.row(
        sql("find_element"),
        account_id=account_id,
        task_id=read_task_id(any_id),
        external_id=any_id,
        element_id=element_id,
    )
    return element_from(row) if row else None


async def list_elements(db: Database, account_id: int, *, limit: int, offset: int) -> list[ElementTask]:
    """Those that are not deleted, newest first."""
    rows = await db.rows(sql("list_elements"), account_id=account_id, limit=limit, offset=offset)
    return [element_from(row) for row in rows]


async def usable_elements(db: Database, account_id: int, ids: Sequence[int]) -> dict[int, Element]:
    """Those of these elements that a task of this account may name now, by id."""
    rows = await db.rows(
        "select * from element_answers "
        "where account_id = :account_id and element_id = any(:ids::bigint[]) "
        "and status = 'succeed' and deleted_at is null",
        account_id=account_id,
        ids=list(ids),
    )
    return {row["element_id"]: element_from(row).element for row in rows}


async def delete_element(db: Database, account_id: int, element_id: int, at: datetime) -> UUID | None:
    """Delete an element, at this moment; the id of its task, or None where the account has no such element."""
    found: UUID | None = await db.value(
        "select delete_element(:account_id, :element_id, :at)", account_id=account_id, element_id=element_id, at=at
    )
    return found


async def claim_elements(
    db: Database, *, most: int, lease: timedelta, task_id: UUID | None = None, ready: bool = False
) -> list[ClaimedElement]:
    """Take up to `most` elements to be made (only this one, if given; with `ready` only those of stored pictures),
    oldest first, and mark them as processing. Two element_workers never get the same one."""
    rows = await db.rows(
        "select * from claim_elements(:limit, :lease, :claim, :task_id, :ready)",
        limit=most,
        lease=lease,
        claim=uuid4(),
        task_id=task_id,
        ready=ready,
    )
    return [ClaimedElement(element_from(row), row["claim"], row["attempt"], row["last_error"] or "") for row in rows]


async def finish_element(db: Database, claimed: ClaimedElement, images: Sequence[Reference]) -> None:
    """It is made, of these stored pictures. Changes nothing where the claim was lost."""
    places = [{"index": i, "key": r.key, "width": r.width, "height": r.height} for i, r in enumerate(images)]
    await _end(db, claimed, "succeed", "", json.dumps(places))


async def fail_element(db: Database, claimed: ClaimedElement, message: str) -> None:
    """It cannot be made. Changes nothing where the claim was lost."""
    await _end(db, claimed, "failed", storable_text(message), "[]")


async def _end(db: Database, claimed: ClaimedElement, status: str, message: str, images: str) -> None:
    await db.row(
        "select end_element(:task_id, :claim, :status, :message, :images::text::jsonb)",
        task_id=claimed.task.id,
        claim=claimed.claim,
        status=status,
        message=message,
        images=images,
    )


async def release_element(
    db: Database, claimed: ClaimedElement, *, after: timedelta, error: str = "", count_attempt: bool = True
) -> None:
    """Give it back, to be claimed again by anybody `after` this."""
    await db.row(
        sql("release_element"),
        task_id=claimed.task.id,
        claim=claimed.claim,
        after=after,
        error=storable_text(error) or None,
        count_attempt=count_attempt,
    )


async def delete_old_elements(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` elements that failed or were deleted longer than `age` ago; how many. Their external ids
    stay taken."""
    return int(await db.value(sql("delete_old_elements"), age=age, limit=limit))


def _row(element: NewElement) -> dict[str, object]:
    key, body_hash = element.idempotency or (None, None)
    return {
        "id": str(element.task_id),
        "element_id": element.element_id,
        "account_id": element.account_id,
        "external_task_id": element.external_task_id or None,
        # apart from the keys of image tasks: no header can hold this character
        "idempotency_key": None if key is None else f"elements\x1f{key}",
        "body_hash": None if body_hash is None else "\\x" + body_hash.hex(),
        "name": element.name,
        "description": element.description,
        "tags": list(element.tags),
        "callback_url": element.callback_url or None,
        "images": [
            reference_columns(image) | {"index": index, "field": field}
            for index, (field, image) in enumerate(element.images)
        ],
    }


def element_from(row: asyncpg.Record) -> ElementTask:
    """An element from a row of the view element_answers."""
    images = json.loads(row["images"]) if row["images"] else []
    fields = tuple(image.pop("field") for image in images)
    element = Element(
        id=row["element_id"],
        name=row["name"],
        description=row["description"],
        images=tuple(Reference(**image) for image in images),
        tags=tuple(row["tags"]),
        owned_by=str(row["account_id"]),
    )
    return ElementTask(
        id=row["id"],
        external_task_id=row["external_task_id"] or "",
        status=row["status"],
        status_message=row["status_message"],
        element=element,
        fields=fields,
        deleted=row["deleted_at"] is not None,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
