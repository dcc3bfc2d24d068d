"""Check, fetch, store and load the references of tasks and elements.

Identical content is stored only once. After a batch has fetched a URL, all batches of its task use the stored file. A
separate process decodes each image completely before an engine receives the image.
"""

import asyncio
import hashlib
import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from framehouse.adapters.fetch import FetchFailed, fetch
from framehouse.adapters.images.base64 import NotBase64, decode_base64
from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres import batch_queue, reference_store
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.reference_files.header import BadImage, inspect, inspect_mask
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Declined, Unavailable
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Content, ImageInput, Reference, is_url
from framehouse.engines.interface import ReferenceImage, SavedElement


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An image whose header complies with the rules for references. The image has not been stored yet.

    `width` and `height` are in pixels, with the EXIF rotation applied.
    """

    content: Content
    width: int
    height: int


async def inspect_input(image: ImageInput, *, mask: bool = False) -> Reference | InspectedImage | str:
    """Check an image in a request, without network access and without decoding the pixels of the image.

    The checks cover the encoding, the length, the file type, the size in pixels and the aspect ratio. For a URL, the
    result is a reference that has not been fetched yet. For a valid image, the result is an InspectedImage. For an
    invalid image, the result is the problem: the end of a sentence that starts with a request field, for example
    "image_list[0].image". If `mask` is true, the image must also be a PNG file with an alpha channel.
    """
    if isinstance(image, str) and is_url(image):
        return Reference(url=image)
    try:
        return await asyncio.to_thread(_inspect, image, inspect_mask if mask else inspect)
    except (BadImage, NotBase64) as error:
        return str(error)


async def store(db: Database, storage: Storage, image: Reference | InspectedImage) -> Reference:
    """Store an image, unless identical content is already stored. A Reference is returned unchanged.

    The sweeper does not delete the file during the grace period (REFERENCE_GRACE). Within the grace period, the task or
    element that needs the file must be saved, so that the view `needed_references` lists the file.
    """
    if isinstance(image, Reference):
        return image
    content = image.content
    # content that is stored again after its deletion gets a new key: see migration 0003
    new_key = f"references/{content.sha256}-{secrets.token_hex(4)}"
    key = await reference_store.use_reference(db, content.sha256, new_key)
    if key == new_key or await storage.size(key) != content.size:
        await storage.put_file(key, content.open())
    return Reference(key=key, width=image.width, height=image.height)


async def fetch_image(
    field: str, url: str, db: Database, storage: Storage, checker: ImageChecker, *, allow_private: bool, account_id: int
) -> Reference:
    """Fetch the image at a URL, decode it completely and store it. `field` is the request field that contains the URL.

    Raises Unavailable if the fetch failed and a retry may succeed. Raises Declined if the image can never be used. The
    messages of both errors contain `field`.
    """
    try:
        content = await fetch(url, max_bytes=MAX_REFERENCE_BYTES, allow_private=allow_private, account_id=account_id)
        width, height = await checker.check(content, account_id=account_id)
    except FetchFailed as error:
        kind = Unavailable if error.retry else Declined
        raise kind(f"{field} {error.message}") from error
    except BadImage as error:
        raise Declined(f"{field} {error}") from error
    stored = await store(db, storage, InspectedImage(await asyncio.to_thread(content_of, content), width, height))
    await reference_store.mark_checked(db, stored.key, width, height)
    return replace(stored, url=url)


async def load_references(
    batch: Claimed, db: Database, storage: Storage, checker: ImageChecker, *, allow_private: bool
) -> tuple[ReferenceImage, ...]:
    """Load the references of a batch, in order. A separate process decodes each file completely before its first use.

    After a URL is fetched, all batches of the task use the stored file. Raises Unavailable if a fetch failed and a
    retry may succeed. Raises Declined if an image can never be used. The messages of both errors contain the request
    field of the reference.
    """
    loaded = []
    for index, reference in enumerate(batch.references):
        field, role = reference.field, reference.role
        if not reference.key:
            fetched = await fetch_image(
                field, reference.url, db, storage, checker, allow_private=allow_private, account_id=batch.account_id
            )
            # if another batch of the task has already fetched this reference, all batches use the file of that batch
            reference = await batch_queue.save_reference(db, batch.task_id, index, fetched)
        image = await load_stored(field, reference.key, db, storage, checker, account_id=batch.account_id)
        loaded.append(replace(image, role=role))
    return tuple(loaded)


async def load_elements(
    batch: Claimed, db: Database, storage: Storage, checker: ImageChecker
) -> tuple[SavedElement, ...]:
    """Load the elements of a batch and the files of their images, in order.

    Raises Declined if a file is missing or damaged.
    """
    loaded = []
    for index, element in enumerate(batch.elements):
        field = f"element_list[{index}].element_id {element.id}: an image"
        images = [
            await load_stored(field, image.key, db, storage, checker, account_id=batch.account_id)
            for image in element.images
        ]
        loaded.append(SavedElement(element.name, element.description, tuple(images)))
    return tuple(loaded)


async def load_stored(
    field: str, key: str, db: Database, storage: Storage, checker: ImageChecker, *, account_id: int
) -> ReferenceImage:
    """Load a stored image for an engine. Each file is decoded completely before its first use.

    Raises Declined if the file is missing or damaged. The message contains `field`.
    """
    content = await storage.get(key)
    if content is None:
        raise Declined(f"{field} no longer exists")
    size = await reference_store.find_checked(db, key)
    if size is None:
        try:
            size = await checker.check(content, account_id=account_id)
        except BadImage as error:
            raise Declined(f"{field} {error}") from error
        await reference_store.mark_checked(db, key, *size)
    return ReferenceImage(content, *size)


def content_of(content: bytes) -> Content:
    """Return a `Content` for bytes in memory.

    This function computes a hash. If the content is large, call this function in a thread, because hashing blocks.
    """
    return Content(len(content), hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))


def _inspect(image: ImageInput, check: Callable[[BinaryIO, int], tuple[int, int]]) -> InspectedImage:
    if isinstance(image, str):
        content = content_of(decode_base64(image))
    elif image.content:
        content = image.content
    else:
        raise NotBase64(image.problem)
    with content.open() as file:
        return InspectedImage(content, *check(file, content.size))
