"""Read the partial images that a worker stores while it generates the images of a task."""

import asyncio
import hashlib
import io
from base64 import b64encode
from collections.abc import Collection
from typing import Any

from framehouse.adapters.reference_files.webp_header import read_webp_header
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.domain.shot import partial_image_key
from framehouse.domain.task import Task
from framehouse.entrypoints.api.openai.openai_json import file_fields

_TIMEOUT_S = 2.0


class PartialImageReader:
    """The partial images that one stream has sent: at most `limit` per image, each different from the previous one."""

    def __init__(self, storage: Storage, limit: int) -> None:
        self._storage = storage
        self._limit = limit
        self._sent: dict[int, int] = {}
        self._digests: dict[int, bytes] = {}

    async def new_images(self, task: Task, finished: Collection[int]) -> list[dict[str, Any]]:
        """Return the fields of an event for each partial image that is new since the last call.

        `finished` contains the indexes of the finished images, which are not queried. A storage that fails or responds
        slowly has no partial images.
        """
        limit = min(self._limit, task.options.partial_images or 0)
        indexes = [n for n in range(task.image_count) if n not in finished and self._sent.get(n, 0) < limit]
        events = []
        for index, file in zip(indexes, await asyncio.gather(*(self._load(task, n) for n in indexes)), strict=True):
            digest = hashlib.sha256(file).digest()
            if not file or self._digests.get(index) == digest:
                continue
            header = read_webp_header(io.BytesIO(file))
            assert header is not None, "the worker stores WebP files"
            number = self._sent.get(index, 0)
            self._sent[index], self._digests[index] = number + 1, digest
            events.append(
                {"index": index, "partial_image_index": number}
                | file_fields(task, "webp", header.width, header.height)
                | {"b64_json": b64encode(file).decode()}
            )
        return events

    async def _load(self, task: Task, index: int) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._storage.get(partial_image_key(task.id, index)) or b""
        except (StorageUnavailable, TimeoutError):
            return b""
