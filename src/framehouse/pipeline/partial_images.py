"""Store the partial images of a batch: previews of its unfinished images, for the streams of OpenAI's image API.

A partial image has the same marks as the preview of a finished image. A preview that cannot be used never delays or
fails the batch.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.storage import Storage
from framehouse.domain.shot import partial_image_key
from framehouse.engines.image_files import decode_answer

log = logging.getLogger(__name__)
_INTERVAL_S = 1.0


class PartialImages:
    """The partial images of a batch: at most `limit` per shot, and at most one per second."""

    def __init__(self, task_id: UUID, limit: int, storage: Storage) -> None:
        self._task_id = task_id
        self._limit = limit
        self._storage = storage
        self._stored: Counter[int] = Counter()
        self._newest: dict[int, tuple[bytes, Callable[[NDArray[np.uint8]], bytes]]] = {}
        self._storing: asyncio.Task[None] | None = None
        self._next_at = 0.0

    def offer(self, index: int, preview: bytes, finish: Callable[[NDArray[np.uint8]], bytes]) -> None:
        """Store the newest preview of a shot soon, and return immediately.

        `preview` is an image file. `finish` receives its RGB pixels in a thread, and returns the file to store.
        """
        if self._stored[index] >= self._limit:
            return
        self._newest[index] = preview, finish
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all())

    async def aclose(self) -> None:
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)

    async def _store_all(self) -> None:
        while self._newest:
            await asyncio.sleep(max(0.0, self._next_at - time.monotonic()))
            self._next_at = time.monotonic() + _INTERVAL_S
            index = next(iter(self._newest))
            preview, finish = self._newest.pop(index)
            if self._stored[index] >= self._limit:
                continue
            try:
                file = await asyncio.to_thread(lambda: finish(decode_answer(preview)))  # noqa: B023
                await self._storage.put(partial_image_key(self._task_id, index), file)
                self._stored[index] += 1
            except Exception as error:  # noqa: BLE001 - a batch does not depend on its partial images
                log.debug("partial image %s of task %s is not stored: %s", index, self._task_id, type(error).__name__)
