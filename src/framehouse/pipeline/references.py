"""The pictures that came along: checked, kept once per content, fetched once per task."""

import asyncio
import hashlib
import re
from dataclasses import replace

import pybase64

from framehouse.adapters.engines.base import ReferenceImage, SavedElement
from framehouse.adapters.fetch import FetchFailed, fetch
from framehouse.adapters.images.decode import BadImage, inspect
from framehouse.adapters.postgres import claims
from framehouse.adapters.postgres.claims import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.element import Element
from framehouse.domain.errors import Declined, Unavailable
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Reference, is_url

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)
Checked = Reference | tuple[bytes, int, int]
"""An image as sent that met the rules: a URL as a reference to be fetched, or a picture as its bytes and size."""


async def check_image(field: str, image: str) -> Checked | str:
    """What was sent in this field, or what is wrong with it."""
    if is_url(image):
        return Reference(url=image)
    try:
        return await asyncio.to_thread(_decode, image)
    except BadImage as error:
        return f"{field} {error}"


async def keep_image(storage: Storage, checked: Checked) -> Reference:
    """What was checked, stored where it is a picture."""
    return checked if isinstance(checked, Reference) else await store_reference(storage, *checked)


def _decode(image: str) -> tuple[bytes, int, int]:
    if image[:5].lower() == "data:":
        head = _DATA_URL.match(image[:256])
        if head is None:
            raise BadImage("is a data URL without base64 content; data:image/png;base64,… is needed")
        image = image[head.end() :]
    if len(image) > MAX_REFERENCE_BYTES * 4 // 3 + 4:
        raise BadImage(f"is too long; at most {MAX_REFERENCE_BYTES:,} bytes are allowed when decoded")
    if "\n" in image[:100] or image[-1:].isspace() or image[:1].isspace():  # wrapped, as mail programs do
        image = "".join(image.split())
    image += "=" * (-len(image) % 4)
    try:
        content = pybase64.b64decode(image, validate=True)
    except ValueError:
        raise BadImage("is neither an http(s) URL nor valid base64") from None
    return content, *inspect(content)


async def store_reference(storage: Storage, content: bytes, width: int, height: int) -> Reference:
    """Keep a checked reference; the same content is stored once."""
    key = "references/" + await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
    if await storage.size(key) != len(content):
        await storage.put(key, content)
    return Reference(key=key, width=width, height=height)


async def fetch_reference(field: str, url: str, storage: Storage, *, allow_private: bool) -> tuple[Reference, bytes]:
    """The picture behind the URL that was sent in this field, checked and kept, and its bytes.

    Raises Declined where it can never be had, naming the field, and Unavailable where later may help.
    """
    try:
        content = await fetch(url, most_bytes=MAX_REFERENCE_BYTES, allow_private=allow_private)
        width, height = await asyncio.to_thread(inspect, content)
    except FetchFailed as error:
        kind = Unavailable if error.retry else Declined
        raise kind(f"{field} {error.message}") from error
    except BadImage as error:
        raise Declined(f"{field} {error}") from error
    return replace(await store_reference(storage, content, width, height), url=url), content


async def load_references(
    batch: Claimed, db: Database, storage: Storage, *, allow_private: bool
) -> tuple[ReferenceImage, ...]:
    """The references' files, in order; URLs are fetched once and kept for the other batches of the task.

    Raises Declined where one can never be had, naming it, and Unavailable where later may help.
    """
    loaded = []
    for index, reference in enumerate(batch.references):
        field = f"image_list[{index}].image"
        content = await storage.get(reference.key) if reference.key else None
        if content is None and reference.url:
            fetched, content = await fetch_reference(field, reference.url, storage, allow_private=allow_private)
            reference = await claims.keep_reference(db, batch.task_id, index, fetched)
            if reference.key != fetched.key:  # a batch beside us fetched something else: all paint from the same
                content = await storage.get(reference.key)
        loaded.append(_loaded(field, reference, content))
    return tuple(loaded)


async def load_elements(elements: tuple[Element, ...], storage: Storage) -> tuple[SavedElement, ...]:
    """The elements that a task took along, in order, with their pictures' files. Raises Declined where one is lost."""
    loaded = []
    for index, element in enumerate(elements):
        field = f"element_list[{index}].element_id {element.id}: a picture"
        images = [_loaded(field, image, await storage.get(image.key)) for image in element.images]
        loaded.append(SavedElement(element.name, element.description, tuple(images)))
    return tuple(loaded)


def _loaded(field: str, reference: Reference, content: bytes | None) -> ReferenceImage:
    if content is None:
        raise Declined(f"{field} is no longer there")
    return ReferenceImage(content, reference.width, reference.height)
