"""Long polls: one listening connection tells all waiting requests of this process which tasks have ended."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from framehouse.adapters.postgres.channels import ENDED_CHANNEL
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.postgres.task_store import ended_tasks

_LOOK_S = 2.0


class Waiting:
    """Who waits for which task. What a lost notification missed is found by a look every two seconds."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._events: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, task_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the task ends. Watch before looking at the task, and no end is missed."""
        event = asyncio.Event()
        self._events.setdefault(task_id, set()).add(event)
        try:
            yield event
        finally:
            events = self._events[task_id]
            events.discard(event)
            if not events:
                del self._events[task_id]

    def _set(self, task_id: UUID) -> None:
        for event in self._events.get(task_id, ()):
            event.set()

    def end(self) -> None:
        """The server stops: everybody is answered with what there is."""
        for task_id in list(self._events):
            self._set(task_id)

    def _on_ended(self, payload: str) -> None:
        with suppress(ValueError):
            self._set(UUID(payload))

    async def run(self) -> None:
        """Listen and look, until cancelled."""
        await asyncio.gather(self._db.listen({ENDED_CHANNEL: self._on_ended}), self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._events:
                with suppress(*TROUBLE):
                    for task_id in await ended_tasks(self._db, list(self._events)):
                        self._set(task_id)
