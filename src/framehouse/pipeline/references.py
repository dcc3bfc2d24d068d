"""The pictures that came along: kept once per content, fetched once per task."""

import asyncio
import hashlib
from dataclasses import replace

from framehouse.adapters.engines.base import ReferenceImage
from framehouse.adapters.fetch import FetchFailed, fetch
from framehouse.adapters.images.decode import BadImage, inspect
from framehouse.adapters.postgres import claims
from framehouse.adapters.postgres.claims import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Declined, Unavailable
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Reference


async def store_reference(storage: Storage, content: bytes, width: int, height: int) -> Reference:
    """Keep a checked reference; the same content is stored once."""
    key = "references/" + await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
    if await storage.size(key) != len(content):
        await storage.put(key, content)
    return Reference(key=key, width=width, height=height)


async def load_references(
    batch: Claimed, db: Database, storage: Storage, *, allow_private: bool
) -> tuple[ReferenceImage, ...]:
    """The references' files, in order; URLs are fetched once and kept for the other batches of the task.

    Raises Declined where one can never be had, naming it, and Unavailable where later may help.
    """
    loaded = []
    for index, reference in enumerate(batch.references):
        content = await storage.get(reference.key) if reference.key else None
        if content is None and reference.url:
            try:
                content = await fetch(reference.url, most_bytes=MAX_REFERENCE_BYTES, allow_private=allow_private)
                width, height = await asyncio.to_thread(inspect, content)
            except FetchFailed as error:
                kind = Unavailable if error.retry else Declined
                raise kind(f"image_list[{index}].image {error.message}") from error
            except BadImage as error:
                raise Declined(f"image_list[{index}].image {error}") from error
            fetched = replace(await store_reference(storage, content, width, height), url=reference.url)
            reference = await claims.keep_reference(db, batch.task_id, index, fetched)
            if reference.key != fetched.key:  # a batch beside us fetched something else: all paint from the same
                content = await storage.get(reference.key)
        if content is None:
            raise Declined(f"image_list[{index}].image is no longer there")
        loaded.append(ReferenceImage(content, reference.width, reference.height))
    return tuple(loaded)
