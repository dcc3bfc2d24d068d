"""Two accounts that disturb the clients of a chaos test. Their own tasks are not checked, except for their billing.

The greedy account always has as many images in flight as its quota allows. The hostile account sends references on a
host that never answers, and cancels its tasks.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.support.api_server import PATH
from tests.support.eventually import eventually
from tests.support.sockets import listening

DISTURBING_IMAGES = 27
"""The quota of each disturbing account."""
ACCOUNTS = ("greedy", "hostile")


@dataclass
class Disturbers:
    """The disturbing accounts. `keys` contains the API key of each account."""

    servers: Sequence[str]
    keys: dict[str, str]
    accepted: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in ACCOUNTS})

    async def run(self) -> None:
        """Disturb until cancelled."""
        async with listening(_never_answer) as hung_url, asyncio.TaskGroup() as group:
            group.create_task(self._send("greedy", {"n": 9}))
            group.create_task(self._send("hostile", {"image_list": [{"image": f"{hung_url}/image.png"}]}, cancel=True))

    async def _send(self, name: str, body: dict[str, Any], *, cancel: bool = False) -> None:
        while True:
            accepted = await self._request(name, "POST", PATH, {"model_name": "direct", "prompt": "a fox"} | body)
            if accepted:
                self.accepted[name].append(accepted["task_id"])
            if cancel and len(self.accepted[name]) > 10:
                await self._request(name, "POST", f"{PATH}/{random.choice(self.accepted[name])}/cancel")
            await asyncio.sleep(0.05 if accepted else 0.5)

    async def _request(self, name: str, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        """Send a request once. Returns the data of the answer, or None if the request failed or was refused."""
        try:
            async with httpx.AsyncClient(timeout=15, base_url=random.choice(self.servers)) as http:
                headers = {"Authorization": f"Bearer {self.keys[name]}"}
                answer = (await http.request(method, path, json=body, headers=headers)).json()
        except (httpx.TransportError, ValueError):
            return None
        data: dict[str, Any] | None = answer.get("data") if answer["code"] == 0 else None
        return data


async def _never_answer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await asyncio.Event().wait()


async def cancel_disturbing_tasks(db: Database) -> None:
    """Cancel all tasks of the disturbing accounts that have not ended. The database may still be restarting."""

    async def cancelled() -> bool:
        with suppress(*DATABASE_ERRORS):
            await db.row(
                "select count(cancel_task(t.id, t.account_id, 'Canceled', interval '30 days')) from tasks t "
                "join accounts a on a.id = t.account_id where a.name = any(:names) and t.ended_at is null",
                names=list(ACCOUNTS),
            )
            return True
        return False

    await eventually(cancelled, seconds=120)


async def check_disturbers(db: Database) -> None:
    """Check that the accounts have no images in flight, and were charged for exactly their successful tasks."""
    rows = await db.rows(
        "select a.name, a.images_in_flight, a.units_reserved, a.units_used, coalesce(sum(t.image_count) "
        "filter (where t.status = 'succeed'), 0) as images from accounts a "
        "left join tasks t on t.account_id = a.id where a.name = any(:names) group by a.id",
        names=list(ACCOUNTS),
    )
    for row in rows:
        assert (row["images_in_flight"], row["units_reserved"], row["units_used"]) == (0, 0, 8 * row["images"]), row
