"""The pictures that came along: checked, kept once per content, fetched once per task, decoded before any engine."""

import asyncio
import hashlib
import io
import secrets
from dataclasses import dataclass, replace

from framehouse.adapters.fetch import FetchFailed, fetch
from framehouse.adapters.images.base64 import NotBase64, decode_base64
from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.images.header import BadImage, inspect
from framehouse.adapters.postgres import batch_queue, reference_store
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.element import Element
from framehouse.domain.errors import Declined, Unavailable
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Content, Reference, Sent, is_url
from framehouse.engines.interface import ReferenceImage, SavedElement


@dataclass(frozen=True, slots=True)
class Inspected:
    """A picture whose header meets the contract's rules, and its upright size in pixels; not stored yet."""

    content: Content
    width: int
    height: int


async def inspect_sent(sent: Sent) -> Reference | Inspected | str:
    """What was sent: a URL as a reference still to be fetched, a picture that may be stored, or what is wrong with it
    (the words that follow "image_list[0].image").

    All that needs neither network nor decoding: form, length, type by content, size in pixels, aspect.
    """
    if isinstance(sent, str) and is_url(sent):
        return Reference(url=sent)
    try:
        return await asyncio.to_thread(_inspect, sent)
    except (BadImage, NotBase64) as error:
        return str(error)


async def store(db: Database, storage: Storage, image: Reference | Inspected) -> Reference:
    """Keep a picture; the same content is stored once. A URL stays as it is.

    It is safe from the sweeper for REFERENCE_GRACE: by then, what needs it must be in the view `needed_references`.
    """
    if isinstance(image, Reference):
        return image
    content = image.content
    # a key of its own for each life of the same content: see migration 0003
    fresh = f"references/{content.sha256}-{secrets.token_hex(4)}"
    key = await reference_store.use_reference(db, content.sha256, fresh)
    if key == fresh or await storage.size(key) != content.size:
        await storage.put_file(key, content.open())
    return Reference(key=key, width=image.width, height=image.height)


async def fetch_image(
    field: str, url: str, db: Database, storage: Storage, checker: ImageChecker, *, allow_private: bool
) -> Reference:
    """The picture behind the URL that was sent in this field, decoded to the end and kept.

    Raises Declined where it can never be had, naming the field, and Unavailable where later may help.
    """
    try:
        content = await fetch(url, most_bytes=MAX_REFERENCE_BYTES, allow_private=allow_private)
        width, height = await checker.check(content)
    except FetchFailed as error:
        kind = Unavailable if error.retry else Declined
        raise kind(f"{field} {error.message}") from error
    except BadImage as error:
        raise Declined(f"{field} {error}") from error
    stored = await store(db, storage, Inspected(await asyncio.to_thread(content_of, content), width, height))
    await reference_store.mark_checked(db, stored.key, width, height)
    return replace(stored, url=url)


async def load_references(
    batch: Claimed, db: Database, storage: Storage, checker: ImageChecker, *, allow_private: bool
) -> tuple[ReferenceImage, ...]:
    """The references' files, in order, each decoded to the end by somebody before; URLs are fetched once and kept for
    the other batches of the task.

    Raises Declined where one can never be had, naming it, and Unavailable where later may help.
    """
    loaded = []
    for index, reference in enumerate(batch.references):
        field = f"image_list[{index}].image"
        if not reference.key:
            fetched = await fetch_image(field, reference.url, db, storage, checker, allow_private=allow_private)
            # a batch beside us may have been first: then all paint from what that one fetched
            reference = await batch_queue.save_reference(db, batch.task_id, index, fetched)
        loaded.append(await load_stored(field, reference.key, db, storage, checker))
    return tuple(loaded)


async def load_elements(
    elements: tuple[Element, ...], db: Database, storage: Storage, checker: ImageChecker
) -> tuple[SavedElement, ...]:
    """The elements that a task took along, in order, with their pictures' files. Raises Declined where one is lost."""
    loaded = []
    for index, element in enumerate(elements):
        field = f"element_list[{index}].element_id {element.id}: a picture"
        images = [await load_stored(field, image.key, db, storage, checker) for image in element.images]
        loaded.append(SavedElement(element.name, element.description, tuple(images)))
    return tuple(loaded)


async def load_stored(field: str, key: str, db: Database, storage: Storage, checker: ImageChecker) -> ReferenceImage:
    """A stored picture as engines get it, decoded to the end once per content. Raises Declined, naming the field, where
    it is damaged or gone."""
    content = await storage.get(key)
    if content is None:
        raise Declined(f"{field} is no longer there")
    size = await reference_store.find_checked(db, key)
    if size is None:
        try:
            size = await checker.check(content)
        except BadImage as error:
            raise Declined(f"{field} {error}") from error
        await reference_store.mark_checked(db, key, *size)
    return ReferenceImage(content, *size)


def content_of(content: bytes) -> Content:
    """Bytes in memory as a Content."""
    return Content(len(content), hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))


def _inspect(sent: Sent) -> Inspected:
    if isinstance(sent, str):
        content = content_of(decode_base64(sent))
    elif sent.content:
        content = sent.content
    else:
        raise NotBase64(sent.problem)
    with content.open() as file:
        return Inspected(content, *inspect(file, content.size))
