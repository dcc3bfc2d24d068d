"""Store saved elements in Postgres: create, claim, finish, read and delete elements."""

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
    """An element to create.

    `images` contains pairs of a request field and the reference that was sent in this field. `idempotency` contains the
    client's idempotency key and the hash of the request body.
    """

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
class CreateResult:
    """The result of `create_element`. An element is created only if the outcome is `accepted`.

    `replayed` means that an earlier request had the same idempotency key and the same body. In this case, `task_id` is
    the id of the task that the earlier request created. `key_reused` means that an earlier request had the same
    idempotency key but a different body. `external_taken` means that the external id is already used.
    """

    outcome: Literal["accepted", "replayed", "key_reused", "external_taken"]
    task_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ClaimedElement:
    """An element that an element worker has claimed in order to process its images. `attempt` counts from 1."""

    task: ElementTask
    account_id: int
    claim: UUID
    attempt: int
    last_error: str


async def create_element(db: Database, element: NewElement) -> CreateResult:
    """Create an element. A repeated call with the same task id creates nothing and returns `accepted` again."""
    answer = await db.row("select * from create_element(:row::text::jsonb)", row=json.dumps(_row(element)))
    assert answer is not None
    return CreateResult(answer["outcome"], answer["task_id"], answer["created_at"])


async def find_element(db: Database, account_id: int, any_id: str, element_id: int) -> ElementTask | None:
    """Return the account's element with this task id, external id or element id, or None if there is none.

    `any_id` is a task id or an external id. A deleted element can be found by these ids, but not by its element id.
    """
    row = await db.row(
        sql("find_element"),
        account_id=account_id,
        task_id=read_task_id(any_id),
        external_id=any_id,
        element_id=element_id,
    )
    return element_from(row) if row else None


async def list_elements(db: Database, account_id: int, *, limit: int, offset: int) -> list[ElementTask]:
    """Return the account's elements that are not deleted, newest first."""
    rows = await db.rows(sql("list_elements"), account_id=account_id, limit=limit, offset=offset)
    return [element_from(row) for row in rows]


async def usable_elements(db: Database, account_id: int, ids: Sequence[int]) -> dict[int, Element]:
    """Return the elements with the given `ids` that a new task of this account may use, keyed by element id."""
    rows = await db.rows(
        "select * from element_answers "
        "where account_id = :account_id and element_id = any(:ids::bigint[]) "
        "and status = 'succeed' and deleted_at is null",
        account_id=account_id,
        ids=list(ids),
    )
    return {row["element_id"]: element_from(row).element for row in rows}


async def delete_element(db: Database, account_id: int, element_id: int, at: datetime) -> UUID | None:
    """Delete an element and record `at` as the deletion time. Returns the task id of the element.

    Returns None if the account has no such element. A repeated call with the same `at` returns the same result.
    """
    task_id: UUID | None = await db.value(
        "select delete_element(:account_id, :element_id, :at)", account_id=account_id, element_id=element_id, at=at
    )
    return task_id


async def claim_elements(
    db: Database, *, limit: int, lease: timedelta, task_id: UUID | None = None, ready: bool = False
) -> list[ClaimedElement]:
    """Claim up to `limit` due elements, and mark them as processing. The accounts take turns.

    `task_id` restricts the claim to one element. `ready` restricts the claim to elements whose images are all stored.
    Two element workers never have valid claims on the same element at the same time.
    """
    rows = await db.rows(
        "select * from claim_elements(:limit, :lease, :claim, :task_id, :ready)",
        limit=limit,
        lease=lease,
        claim=uuid4(),
        task_id=task_id,
        ready=ready,
    )
    return [
        ClaimedElement(element_from(row), row["account_id"], row["claim"], row["attempt"], row["last_error"] or "")
        for row in rows
    ]


async def finish_element(db: Database, claimed: ClaimedElement, images: Sequence[Reference]) -> None:
    """Mark an element as succeeded and record the keys and sizes of its stored images.

    Changes nothing if the worker has lost the claim.
    """
    stored_images = [{"index": i, "key": r.key, "width": r.width, "height": r.height} for i, r in enumerate(images)]
    await _end(db, claimed, "succeed", "", json.dumps(stored_images))


async def fail_element(db: Database, claimed: ClaimedElement, message: str) -> None:
    """Mark an element as failed. Changes nothing if the worker has lost the claim."""
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
    """Release an element. Any element worker can claim the element when the period `after` has passed.

    If `error` is empty, the saved error does not change. If `count_attempt` is false, the attempt is not counted.
    Changes nothing if the worker has lost the claim.
    """
    await db.row(
        sql("release_element"),
        task_id=claimed.task.id,
        claim=claimed.claim,
        after=after,
        error=storable_text(error) or None,
        count_attempt=count_attempt,
    )


async def delete_old_elements(db: Database, age: timedelta, limit: int) -> int:
    """Delete the rows of up to `limit` elements that failed or were deleted more than `age` ago.

    The external ids of the elements cannot be used again. Returns the number of deleted rows.
    """
    return int(await db.value(sql("delete_old_elements"), age=age, limit=limit))


def _row(element: NewElement) -> dict[str, object]:
    key, body_hash = element.idempotency or (None, None)
    return {
        "id": str(element.task_id),
        "element_id": element.element_id,
        "account_id": element.account_id,
        "external_task_id": element.external_task_id or None,
        # the prefix keeps the idempotency keys of elements distinct from those of image tasks. A client cannot send the
        # prefix, because a header cannot contain the character \x1f
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
    """Create an ElementTask from a row of the view element_answers."""
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
