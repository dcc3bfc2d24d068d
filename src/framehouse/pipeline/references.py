"""The pictures that came along: checked, kept once per content, fetched once per task, decoded before any engine."""

import asyncio
import hashlib
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from framehouse.adapters.engines.base import ReferenceImage
from framehouse.adapters.fetch import FetchFailed, fetch
from framehouse.adapters.images.base64 import NotBase64, decode_base64
from framehouse.adapters.images.checker import PictureChecker
from framehouse.adapters.images.header import BadImage, inspect
from framehouse.adapters.postgres import claims, references
from framehouse.adapters.postgres.claims import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Declined, Unavailable
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Content, Reference, Sent, is_url


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
    if is_url(sent):
        return Reference(url=sent) if isinstance(sent, str) else "is too long for a URL"
    try:
        return await asyncio.to_thread(_inspect, sent)
    except (BadImage, NotBase64) as error:
        return str(error)


async def store(db: Database, storage: Storage, picture: Reference | Inspected) -> Reference:
    """Keep a picture; the same content is stored once. A URL stays as it is.

    It is safe from the sweeper for REFERENCE_GRACE: by then, what needs it must be in the view `needed_references`.
    """
    if isinstance(picture, Reference):
        return picture
    content = picture.content
    # a key of its own for each life of the same content: see migration 0004
    fresh = f"references/{content.sha256}-{secrets.token_hex(4)}"
    key = await references.use_reference(db, content.sha256, fresh)
    if key == fresh or await storage.size(key) != content.size:
        await storage.put_file(key, content.open())
    return Reference(key=key, width=picture.width, height=picture.height)


async def load_references(
    batch: Claimed, db: Database, storage: Storage, checker: PictureChecker, *, allow_private: bool
) -> tuple[ReferenceImage, ...]:
    """The references' files, in order, each decoded to the end by somebody before; URLs are fetched once and kept for
    the other batches of the task.

    Raises Declined where one can never be had, naming it, and Unavailable where later may help.
    """
    checked = await _checked(db, [reference.key for reference in batch.references if reference.key])
    loaded = []
    for index, reference in enumerate(batch.references):
        content = await storage.get(reference.key) if reference.key else None
        try:
            if content is None and reference.url:
                content = await fetch(reference.url, most_bytes=MAX_REFERENCE_BYTES, allow_private=allow_private)
                width, height = await checker.check(content)
                picture = Inspected(await asyncio.to_thread(content_of, content), width, height)
                fetched = replace(await store(db, storage, picture), url=reference.url)
                await references.mark_checked(db, fetched.key, width, height)
                reference = await claims.keep_reference(db, batch.task_id, index, fetched)
                checked[fetched.key] = (width, height)
                if reference.key != fetched.key:  # a batch beside us was first: all paint from the same
                    content = await storage.get(reference.key)
                    checked |= await _checked(db, [reference.key])
            if content is None:
                raise Declined(f"image_list[{index}].image is no longer there")
            if reference.key not in checked:
                checked[reference.key] = await checker.check(content)
                await references.mark_checked(db, reference.key, *checked[reference.key])
        except FetchFailed as error:
            kind = Unavailable if error.retry else Declined
            raise kind(f"image_list[{index}].image {error.message}") from error
        except BadImage as error:
            raise Declined(f"image_list[{index}].image {error}") from error
        loaded.append(ReferenceImage(content, *checked[reference.key]))
    return tuple(loaded)


def content_of(content: bytes) -> Content:
    """Bytes in memory as a Content."""
    return Content(len(content), hashlib.sha256(content).hexdigest(), lambda: io.BytesIO(content))


async def _checked(db: Database, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
    return await references.checked_references(db, keys) if keys else {}


def _inspect(sent: Sent) -> Inspected:
    if isinstance(sent, str):
        content = content_of(decode_base64(sent))
    elif sent.content:
        content = sent.content
    else:
        raise NotBase64(sent.problem)
    with content.open() as file:
        return Inspected(content, *inspect(file, content.size))
