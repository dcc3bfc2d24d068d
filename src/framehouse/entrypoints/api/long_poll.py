"""Long polls. Each process uses one database connection to listen for ended tasks, and wakes the waiting requests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from framehouse.adapters.postgres.channels import ENDED_CHANNEL
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.task_store import ended_tasks

_POLL_INTERVAL_S = 2.0
_TRIM_INTERVAL_S = 0.5


class LongPolls:
    """The waiting requests of one process, grouped by task.

    Notifications can be lost, so the database is also queried for ended tasks every two seconds.

    If more than `max_waiting` requests are waiting, the oldest requests of the accounts with the most waiting requests
    receive their responses early. Without this limit, the requests of one account could use all connections.
    """

    def __init__(self, db: Database, max_waiting: int) -> None:
        self._db = db
        self._max_waiting = max_waiting
        self._events: dict[UUID, set[asyncio.Event]] = {}
        self._waiting: dict[int, dict[asyncio.Event, None]] = {}
        """The waiting requests by account, oldest first."""

    @contextmanager
    def watch(self, task_id: UUID, account_id: int) -> Iterator[asyncio.Event]:
        """Yield an event that is set when the task ends.

        Enter the `with` block before reading the task. Otherwise, the task can end after it has been read but before
        the block starts, and its notification is then missed. In this case, the event is set with a delay of up to two
        seconds.
        """
        event = asyncio.Event()
        self._events.setdefault(task_id, set()).add(event)
        self._waiting.setdefault(account_id, {})[event] = None
        try:
            yield event
        finally:
            self._remove(account_id, event)
            events = self._events[task_id]
            events.discard(event)
            if not events:
                del self._events[task_id]

    def _remove(self, account_id: int, event: asyncio.Event) -> None:
        waiting = self._waiting.get(account_id, {})
        waiting.pop(event, None)
        if not waiting:
            self._waiting.pop(account_id, None)

    def end_excess(self) -> None:
        """Wake the oldest requests of the accounts with the most waiting requests, until at most `max_waiting` requests
        are still waiting."""
        excess = sum(map(len, self._waiting.values())) - self._max_waiting
        for _ in range(excess):
            account_id = max(self._waiting, key=lambda account_id: len(self._waiting[account_id]))
            event = next(iter(self._waiting[account_id]))
            self._remove(account_id, event)
            event.set()

    def _set(self, task_id: UUID) -> None:
        for event in self._events.get(task_id, ()):
            event.set()

    def wake_all(self) -> None:
        """Wake all waiting requests when the server stops. Each response contains the current state of the task."""
        for task_id in list(self._events):
            self._set(task_id)

    def _on_ended(self, payload: str) -> None:
        with suppress(ValueError):
            self._set(UUID(payload))

    async def run(self) -> None:
        """Listen for notifications and query the database until cancelled."""
        await asyncio.gather(self._db.listen({ENDED_CHANNEL: self._on_ended}), self._poll(), self._trim())

    async def _trim(self) -> None:
        """Periodically wake the excess requests.

        The excess requests are not woken immediately, because their clients could then repeat them in a busy loop.
        """
        while True:
            await asyncio.sleep(_TRIM_INTERVAL_S)
            self.end_excess()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_INTERVAL_S)
            if self._events:
                with suppress(*DATABASE_ERRORS):
                    for task_id in await ended_tasks(self._db, list(self._events)):
                        self._set(task_id)
