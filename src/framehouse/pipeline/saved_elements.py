"""The element library: create, make, delete, and what a task takes along of it."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import assert_never
from uuid import UUID

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres import element_store as library
from framehouse.adapters.postgres.channels import ELEMENTS_CHANNEL, notify
from framehouse.adapters.postgres.element_store import ClaimedElement, NewElement
from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.presets import preset_picture, presets
from framehouse.adapters.storage import Storage
from framehouse.domain.element import FIRST_OWN_ID, MAX_ELEMENT_ID, Element, ElementRequest
from framehouse.domain.errors import Declined, Refused, Unavailable, refused_fields
from framehouse.domain.reference import Reference
from framehouse.domain.task import Ticket, new_task_id
from framehouse.pipeline.references import (
    Inspected,
    content_of,
    fetch_image,
    inspect_sent,
    load_stored,
    store,
)


async def create_element(
    request: ElementRequest,
    *,
    account_id: int,
    db: Database,
    storage: Storage,
    problems: Sequence[str] = (),
    idempotency: tuple[str, bytes] | None = None,
) -> Ticket:
    """Accept an element to be made. It takes neither quota nor units.

    `problems` are those found in the request so far; the ones found in its pictures join them. Raises Refused, with
    nothing stored but the bytes of pictures.
    """
    inspected = [(sent.field, await inspect_sent(sent.image)) for sent in request.images if sent.image]
    found = [*problems, *(f"{field} {result}" for field, result in inspected if isinstance(result, str))]
    if found:
        raise refused_fields(found)
    images = [await store(db, storage, result) for _, result in inspected if not isinstance(result, str)]
    element = NewElement(
        task_id=new_task_id(time.time_ns() // 1_000_000, secrets.randbits(74)),
        element_id=FIRST_OWN_ID + secrets.randbelow(MAX_ELEMENT_ID - FIRST_OWN_ID),
        account_id=account_id,
        name=request.name,
        description=request.description,
        tags=tuple(request.tags),
        images=tuple((sent.field, image) for sent, image in zip(request.images, images, strict=True)),
        external_task_id=request.external_task_id,
        callback_url=request.callback_url,
        idempotency=idempotency,
    )
    created = await library.create_element(db, element)
    match created.outcome:
        case "external_taken":
            raise Refused(1201, f"External_task_id {request.external_task_id} already exists")
        case "key_reused":
            raise Refused(1201, "Idempotency-Key was used before with another body")
        case "accepted" | "replayed":
            pass
        case other:
            assert_never(other)
    with suppress(DatabaseAway):
        await notify(db, ELEMENTS_CHANNEL, "")
    replayed = created.outcome == "replayed"
    return Ticket(created.task_id, created.created_at, request.external_task_id, replayed=replayed)


async def gather_images(
    claimed: ClaimedElement, db: Database, storage: Storage, checker: ImageChecker, *, allow_private: bool
) -> tuple[Reference, ...]:
    """An element's pictures, all stored and decoded to the end; those sent as URLs are fetched, beside each other.

    Raises Declined where one can never be had, naming it, and Unavailable where later may help.
    """

    async def load(field: str, image: Reference) -> Reference:
        if not image.key:
            return await fetch_image(field, image.url, db, storage, checker, allow_private=allow_private)
        loaded = await load_stored(field, image.key, db, storage, checker)
        return replace(image, width=loaded.width, height=loaded.height)

    images = zip(claimed.task.fields, claimed.task.element.images, strict=True)
    got = await asyncio.gather(*(load(field, image) for field, image in images), return_exceptions=True)
    for kind in (Declined, Unavailable):
        if why := [error.message for error in got if isinstance(error, kind)]:
            raise kind("; ".join(why))
    stored = []
    for one in got:
        if isinstance(one, BaseException):
            raise one
        stored.append(one)
    return tuple(stored)


async def find_elements(db: Database, account_id: int, ids: Sequence[int]) -> dict[int, Element]:
    """Those of these elements that this account's tasks may name, by id: presets and its own."""
    own = [id for id in ids if FIRST_OWN_ID <= id <= MAX_ELEMENT_ID]
    found = await library.usable_elements(db, account_id, own) if own else {}
    return found | {id: presets()[id] for id in ids if id in presets()}


async def take_along(element: Element, db: Database, storage: Storage) -> Element:
    """The element as a task keeps it, with pictures in the storage, also where it is a preset."""
    if element.id not in presets():
        return element
    images = [
        await store(db, storage, Inspected(content_of(preset_picture(image.key)), image.width, image.height))
        for image in element.images
    ]
    return replace(element, images=tuple(images))


async def delete_element(db: Database, account_id: int, element_id: int) -> UUID:
    """Delete an own element; tasks accepted before keep what they took along. The id of the task that made it.

    Raises Refused (1201) where the account has no such element.
    """
    if element_id in presets():
        raise Refused(1201, f"element_id {element_id} is a preset, which cannot be deleted")
    gone = None
    if FIRST_OWN_ID <= element_id <= MAX_ELEMENT_ID:
        gone = await library.delete_element(db, account_id, element_id, datetime.now(UTC))
    if gone is None:
        raise Refused(1201, f"element_id {element_id} does not exist")
    return gone
