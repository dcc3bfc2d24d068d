"""What an engine must still know after a crash, kept with the batch that it is about."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from framehouse.adapters.postgres.batch_queue import Claimed, batch_exists, keep_note
from framehouse.adapters.postgres.pool import Database
from framehouse.engines.interface import BatchLost


class BatchMemory:
    """The memory of one route's engine for a claimed batch (`engines.interface.Memory`)."""

    def __init__(
        self, db: Database, batch: Claimed, route: str, *, hurry: asyncio.Event, hasten_url: str | None
    ) -> None:
        self._db = db
        self._batch = batch
        self._route = route
        self._kept = dict(batch.notes.get(route, {}))
        self._hurry = hurry
        self._hasten_url = hasten_url

    @property
    def note(self) -> Mapping[str, Any]:
        note: Mapping[str, Any] = self._kept.get("note", {})
        return note

    def given_up(self) -> str:
        """Why this route is never asked again; empty while it may be."""
        return str(self._kept.get("given_up", ""))

    @property
    def hasten_url(self) -> str | None:
        return self._hasten_url

    async def keep(self, note: Mapping[str, Any]) -> None:
        await self._write({"note": dict(note)} if note else {})

    async def give_up(self, why: str) -> None:
        await self._write({"given_up": why})

    async def wanted(self) -> bool:
        return await batch_exists(self._db, self._batch.id)

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    async def _write(self, kept: dict[str, Any]) -> None:
        if not await keep_note(self._db, self._batch.id, self._batch.claim, self._route, kept or None):
            raise BatchLost
        self._kept = kept


def route_with_open_order(batch: Claimed) -> str | None:
    """The route that has an open order of this batch, None if there is none."""
    return next((route for route, kept in batch.notes.items() if kept.get("note")), None)
