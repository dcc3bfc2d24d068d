"""Long polls. Each process uses one database connection to listen for ended tasks, and wakes the waiting requests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from uuid import UUID

from framehouse.adapters.postgres.channels import ENDED_CHANNEL
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.task_store import ended_tasks

_POLL_INTERVAL_S = 2.0
_TRIM_INTERVAL_S = 0.5
_WAKE_INTERVAL_S = 0.001
_WOKEN_PER_INTERVAL = 4


class LongPolls:
    """The waiting requests of one process, grouped by task.

    Notifications can be lost, so the database is also queried for ended tasks every two seconds.

    Each millisecond, at most four waiting requests of an account are woken, so that their responses do not delay the
    requests of other accounts.

    If more than `max_waiting` requests are waiting, the oldest requests of the accounts with the most waiting requests
    receive their responses early. Without this limit, the requests of one account could use all connections.
    """

    def __init__(self, db: Database, max_waiting: int) -> None:
        self._db = db
        self._max_waiting = max_waiting
        self._events: dict[UUID, dict[asyncio.Event, int]] = {}
        """The events of the waiting requests and their accounts, by task."""
        self._to_wake: dict[int, dict[asyncio.Event, None]] = {}
        """The events that are set soon, by account."""
        self._has_to_wake = asyncio.Event()
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
        self._events.setdefault(task_id, {})[event] = account_id
        self._waiting.setdefault(account_id, {})[event] = None
        try:
            yield event
        finally:
            self._remove(account_id, event)
            events = self._events[task_id]
            del events[event]
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
            self._wake_soon(event, account_id)

    def _wake_watchers(self, task_id: UUID) -> None:
        for event, account_id in self._events.get(task_id, {}).items():
            self._wake_soon(event, account_id)

    def _wake_soon(self, event: asyncio.Event, account_id: int) -> None:
        self._to_wake.setdefault(account_id, {})[event] = None
        self._has_to_wake.set()

    def wake_all(self) -> None:
        """Wake all waiting requests when the server stops. Each response contains the current state of the task."""
        for events in self._events.values():
            for event in events:
                event.set()

    def _on_ended(self, payload: str) -> None:
        with suppress(ValueError):
            self._wake_watchers(UUID(payload))

    async def run(self) -> None:
        """Listen for notifications and query the database until cancelled."""
        await asyncio.gather(self._db.listen({ENDED_CHANNEL: self._on_ended}), self._poll(), self._trim(), self._wake())

    async def _wake(self) -> None:
        """Wake a few requests of each account at a time."""
        while await self._has_to_wake.wait():
            for account_id, events in list(self._to_wake.items()):
                for event in list(islice(events, _WOKEN_PER_INTERVAL)):
                    event.set()
                    del events[event]
                if not events:
                    del self._to_wake[account_id]
            if not self._to_wake:
                self._has_to_wake.clear()
            await asyncio.sleep(_WAKE_INTERVAL_S)

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
                        self._wake_watchers(task_id)
