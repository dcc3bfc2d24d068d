"""Clients of the chaos: they send tasks of all kinds, each until it is answered, and remember what was accepted."""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from tests.support.api_server import ELEMENTS, element_body
from tests.support.command_line import PATH
from tests.support.image_files import image_base64

KINDS = {
    "single": 30,
    "several": 12,
    "series": 10,
    "marked": 8,
    "with a picture": 8,
    "with a large picture": 5,
    "with a URL": 8,
    "with an element": 5,
    "by relay": 14,
    "cancelled": 6,
    "refused": 4,
    "failing": 3,
    "by previz": 3,
}
LARGE = image_base64(900, 700, "PNG")


def kinds(dice: random.Random) -> Iterator[str]:
    """Each kind of task once, and then more by their weights, without end."""
    yield from dice.sample(list(KINDS), len(KINDS))
    while True:
        yield dice.choices(list(KINDS), weights=list(KINDS.values()))[0]


@dataclass
class Sent:
    """A task that was accepted, and what must become of it."""

    id: str
    kind: str
    images: int
    told: str = ""
    marked: bool = False


@dataclass
class Clients:
    """`servers` are where the API is reached; `receivers` where callbacks go, and pictures come from."""

    servers: Sequence[str]
    receivers: Sequence[str]
    key: str
    signing: tuple[str, str]
    sent: list[Sent] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    elements: list[int] = field(default_factory=list)
    left: int = 0
    dice: random.Random = field(default_factory=random.Random)
    pause_s: float = 0.3

    def __post_init__(self) -> None:
        self.kinds = kinds(self.dice)

    async def run(self, tasks: int, *, at_once: int) -> None:
        """Send so many tasks."""
        self.left = tasks
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_elements())
            for _ in range(at_once):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self.left > 0:
            self.left -= 1
            kind = next(self.kinds)
            await self._submit(kind)
            await asyncio.sleep(self.dice.uniform(0, self.pause_s))

    async def _keep_elements(self) -> None:
        """Save an element now and then, and delete an old one."""
        while self.left > 0:
            name = f"e{uuid.uuid4().hex[:12]}"
            body = element_body(element_name=name, external_task_id=name)
            data = await self.insist("POST", ELEMENTS, body, key=name)
            while data["task_status"] not in ("succeed", "failed"):
                await asyncio.sleep(0.3)
                data = await self.insist("GET", f"{ELEMENTS}/{data['task_id']}")
            self.elements.append(data["task_result"]["elements"][0]["element_id"])
            if len(self.elements) > 3:
                gone = {"element_id": self.elements.pop(0)}
                await self.insist("POST", "/kling/v1/general/delete-elements", gone, may_be_over=True)
            await asyncio.sleep(2)

    async def _submit(self, kind: str) -> None:
        body: dict[str, Any] = {"model_name": "direct", "prompt": "a fox"}
        images, marked = 1, kind == "marked"
        match kind:
            case "several":
                images = body["n"] = self.dice.randint(2, 4)
            case "series":
                images = self.dice.randint(2, 5)
                body |= {"result_type": "series", "series_amount": images}
            case "marked":
                body["watermark_info"] = {"enabled": True}
            case "with a picture":
                body["image_list"] = [{"image": image_base64(300 + self.dice.randrange(40), 300)}]
            case "with a large picture":
                body["image_list"] = [{"image": LARGE}, {"image": "data:image/png;base64," + LARGE}]
            case "with a URL":
                body["image_list"] = [
                    {"image": self.dice.choice(self.receivers) + f"/{self.dice.randrange(10**9)}.png"}
                ]
            case "with an element":
                body |= {"element_list": [{"element_id": self.elements[-1] if self.elements else 101}]}
            case "by relay":
                images = body["n"] = self.dice.choice([1, 1, 2])
                body["model_name"] = "relay"
            case "cancelled":
                body["prompt"] = "slow 5"
            case "refused":
                body["prompt"] = "decline"
            case "failing":
                body["prompt"] = "break"
            case "by previz":
                body["model_name"] = "previz"
        name = uuid.uuid4().hex
        if self.dice.random() < 0.5:
            body["external_task_id"] = name
        told = self.dice.choice(["", *self.receivers])
        if told:
            body["callback_url"] = f"{told}/hook"
        data = await self.insist("POST", PATH, body, key=name)
        if "task_id" not in data:
            assert kind == "with an element", data
            self.left += 1  # it was deleted just before
            return
        self.sent.append(Sent(data["task_id"], kind, images, told, marked))
        if kind == "cancelled":
            await asyncio.sleep(self.dice.uniform(0, 2))
            await self.insist("POST", f"{PATH}/{data['task_id']}/cancel", {})

    async def insist(
        self, method: str, path: str, body: Any = None, *, key: str = "", may_be_over: bool = False
    ) -> dict[str, Any]:
        """Ask until there is an answer that is one; with a key, a repetition is known as such."""
        end = time.monotonic() + 240
        while True:
            try:
                async with httpx.AsyncClient(timeout=15, base_url=self.dice.choice(self.servers)) as http:
                    headers = {"Authorization": f"Bearer {self._token()}"} | ({"Idempotency-Key": key} if key else {})
                    answer = await http.request(method, path, json=body, headers=headers)
                told = answer.json()
                self.answers[f"{answer.status_code} {told['code']}"] += 1
                if answer.status_code == 200:
                    data: dict[str, Any] = told.get("data") or {}
                    return data
                if told["code"] == 1201 and (may_be_over or "element" in told["message"]):
                    return {}
                assert told["code"] in (1303, 5001, 5000), told
                assert told["code"] != 5000, told
            except (httpx.TransportError, json.JSONDecodeError) as error:
                self.answers[type(error).__name__] += 1
            assert time.monotonic() < end, f"{method} {path} was not answered"
            await asyncio.sleep(self.dice.uniform(0.05, 0.4))

    def _token(self) -> str:
        """Our key, or a JWT that we sign; good for long, since clocks jump here."""
        if self.dice.random() < 0.7:
            return self.key
        now = int(time.time())
        return jwt.encode({"iss": self.signing[0], "exp": now + 86_400, "nbf": now - 86_400}, self.signing[1])
