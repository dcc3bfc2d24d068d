"""Store each open order with its batch, so that an engine can find the order after a crash."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from framehouse.adapters.postgres.batch_queue import Claimed, batch_exists, save_open_order
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.upstream_places import ClaimLost, release_places, take_account_request, take_places
from framehouse.engines.interface import BatchLost


class StoredOrder:
    """The open order of one route for a claimed batch. Implements `engines.interface.OpenOrder`."""

    def __init__(
        self, db: Database, batch: Claimed, route: str, *, wake: asyncio.Event, upstream_callback_url: str | None
    ) -> None:
        self._db = db
        self._batch = batch
        self._route = route
        self._stored = dict(batch.open_orders.get(route, {}))
        self._wake = wake
        self._upstream_callback_url = upstream_callback_url

    @property
    def data(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self._stored.get("note", {})
        return data

    def given_up(self) -> str:
        """Return the reason why this route is excluded for this batch.

        Returns an empty string if the route is not excluded.
        """
        return str(self._stored.get("given_up", ""))

    @property
    def upstream_callback_url(self) -> str | None:
        return self._upstream_callback_url

    async def save(self, data: Mapping[str, Any]) -> None:
        await self._write({"note": dict(data)} if data else {})

    async def give_up(self, reason: str) -> None:
        await self._write({"given_up": reason})

    async def take_places(self, account: str, places: int, *, limit: int | None) -> int | None:
        try:
            return await take_places(self._db, self._batch.id, self._batch.claim, account, places, limit=limit)
        except ClaimLost as error:
            raise BatchLost from error

    async def release_places(self, account: str) -> None:
        await release_places(self._db, self._batch.id, account)

    async def take_request(self, account: str, *, per_minute: int) -> float:
        return await take_account_request(self._db, account, per_minute=per_minute)

    async def is_wanted(self) -> bool:
        return await batch_exists(self._db, self._batch.id)

    async def pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _write(self, stored: dict[str, Any]) -> None:
        if not await save_open_order(self._db, self._batch.id, self._batch.claim, self._route, stored or None):
            raise BatchLost
        self._stored = stored


def route_with_open_order(batch: Claimed) -> str | None:
    """Return the route that has an open order for this batch. Returns None if there is no open order."""
    return next((route for route, stored in batch.open_orders.items() if stored.get("note")), None)
