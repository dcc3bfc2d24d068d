"""The element library: create and delete elements, process their images, and copy preset images for tasks."""

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
from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from framehouse.adapters.presets import preset_image, presets
from framehouse.adapters.storage import Storage
from framehouse.domain.element import FIRST_OWN_ID, MAX_ELEMENT_ID, Element, ElementRequest
from framehouse.domain.errors import Declined, Refused, Unavailable, refused_fields
from framehouse.domain.reference import Reference
from framehouse.domain.task import Ticket, new_task_id
from framehouse.pipeline.references import (
    InspectedImage,
    content_of,
    fetch_image,
    inspect_input,
    load_stored,
    store,
)
from framehouse.pipeline.uploads import find_uploads


async def create_element(
    request: ElementRequest,
    *,
    account_id: int,
    db: Database,
    storage: Storage,
    problems: Sequence[str] = (),
    idempotency: tuple[str, bytes] | None = None,
) -> Ticket:
    """Accept a request to create an element. An element worker processes the element later.

    Creating an element uses no quota and no units. `problems` contains the problems that were already found in the
    request. This function also checks the images, and adds the problems that it finds. Raises Refused if there are
    problems, if the external task id is already used, or if the idempotency key was used with another body. A refused
    request creates no element. The sweeper later deletes images that were already stored.
    """
    uploads, upload_problems = await find_uploads(db, account_id, request.images)
    inspected = [
        (sent.field, uploads.get(sent.field) or await inspect_input(sent.image))
        for sent in request.images
        if sent.image
    ]
    all_problems = [
        *problems,
        *upload_problems,
        *(f"{field} {result}" for field, result in inspected if isinstance(result, str)),
    ]
    if all_problems:
        raise refused_fields(all_problems)
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
    with suppress(DatabaseUnavailable):
        await notify(db, ELEMENTS_CHANNEL, "")
    replayed = created.outcome == "replayed"
    return Ticket(created.task_id, created.created_at, request.external_task_id, replayed=replayed)


async def gather_images(
    claimed: ClaimedElement, db: Database, storage: Storage, checker: ImageChecker, *, allow_private: bool
) -> tuple[Reference, ...]:
    """Store all images of an element, and decode them completely. All URLs are fetched concurrently.

    Raises Declined if at least one image can never be used. Otherwise, raises Unavailable if at least one image cannot
    be used now but may be usable later. The message describes the problem with each image that caused the error.
    """

    async def load(field: str, image: Reference) -> Reference:
        if not image.key:
            return await fetch_image(
                field, image.url, db, storage, checker, allow_private=allow_private, account_id=claimed.account_id
            )
        loaded = await load_stored(field, image.key, db, storage, checker, account_id=claimed.account_id)
        return replace(image, width=loaded.width, height=loaded.height)

    images = zip(claimed.task.fields, claimed.task.element.images, strict=True)
    results = await asyncio.gather(*(load(field, image) for field, image in images), return_exceptions=True)
    for kind in (Declined, Unavailable):
        if reasons := [error.message for error in results if isinstance(error, kind)]:
            raise kind("; ".join(reasons))
    stored = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        stored.append(result)
    return tuple(stored)


async def find_elements(db: Database, account_id: int, ids: Sequence[int]) -> dict[int, Element]:
    """Return the elements with the given `ids` that tasks of this account may use, keyed by id.

    An account may use all presets and its own elements.
    """
    own_ids = [id for id in ids if FIRST_OWN_ID <= id <= MAX_ELEMENT_ID]
    own = await library.usable_elements(db, account_id, own_ids) if own_ids else {}
    return own | {id: presets()[id] for id in ids if id in presets()}


async def store_preset_images(element: Element, db: Database, storage: Storage) -> Element:
    """Return the element in a form that a task can use.

    A task refers to the images of its elements by storage keys, so the images of a preset are copied into the storage.
    All other elements are returned unchanged.
    """
    if element.id not in presets():
        return element
    images = [
        await store(db, storage, InspectedImage(content_of(preset_image(image.key)), image.width, image.height))
        for image in element.images
    ]
    return replace(element, images=tuple(images))


async def delete_element(db: Database, account_id: int, element_id: int) -> UUID:
    """Delete an element of the account. Returns the id of the task that created the element.

    Accepted tasks that use the element have their own copies of the element. Raises Refused (1201) if the element is a
    preset, or if the account has no such element.
    """
    if element_id in presets():
        raise Refused(1201, f"element_id {element_id} is a preset, which cannot be deleted")
    task_id = None
    if FIRST_OWN_ID <= element_id <= MAX_ELEMENT_ID:
        task_id = await library.delete_element(db, account_id, element_id, datetime.now(UTC))
    if task_id is None:
        raise Refused(1201, f"element_id {element_id} does not exist")
    return task_id
