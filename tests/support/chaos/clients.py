"""The clients of a chaos test: they send tasks of all kinds, repeat each request until it is answered, and record
the accepted tasks."""

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

from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from tests.support.api_server import ELEMENTS, element_body
from tests.support.image_files import image_base64

KINDS = {
    "single": 30,
    "several": 12,
    "series": 10,
    "watermarked": 8,
    "with an image": 8,
    "with a large image": 5,
    "with a URL": 8,
    "with an element": 5,
    "by relay": 14,
    "cancelled": 6,
    "refused": 4,
    "failing": 3,
    "by previz": 3,
    "generation": 8,
    "combination": 6,
    "expansion": 6,
    "try-on": 5,
}
LARGE = image_base64(900, 700, "PNG")


def kinds(rng: random.Random) -> Iterator[str]:
    """Yield each kind of task once, then random kinds by their weights, without end."""
    yield from rng.sample(list(KINDS), len(KINDS))
    while True:
        yield rng.choices(list(KINDS), weights=list(KINDS.values()))[0]


@dataclass
class SentTask:
    """An accepted task, and its expected result.

    `callback_receiver` is the URL of its receiver; it is empty if the task has no callback.
    """

    id: str
    kind: str
    images: int
    callback_receiver: str = ""
    watermarked: bool = False
    endpoint: TaskKind = "omni-image"
    relayed: bool = False

    @property
    def path(self) -> str:
        return f"/kling{TASK_PATHS[self.endpoint]}/{self.id}"


@dataclass
class Clients:
    """Clients that share an account and send tasks until `remaining` is 0.

    `servers` are the URLs of the API. `receivers` are the URLs that receive callbacks and serve reference images.
    `signing` is the access key and the secret key for JWTs.
    """

    servers: Sequence[str]
    receivers: Sequence[str]
    key: str
    signing: tuple[str, str]
    sent: list[SentTask] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    elements: list[int] = field(default_factory=list)
    remaining: int = 0
    rng: random.Random = field(default_factory=random.Random)
    pause_s: float = 0.3

    def __post_init__(self) -> None:
        self.kinds = kinds(self.rng)

    async def run(self, tasks: int, *, concurrency: int) -> None:
        """Send this number of tasks with `concurrency` clients."""
        self.remaining = tasks
        async with asyncio.TaskGroup() as group:
            group.create_task(self._replace_elements())
            for _ in range(concurrency):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self.remaining > 0:
            self.remaining -= 1
            kind = next(self.kinds)
            await self._submit(kind)
            await asyncio.sleep(self.rng.uniform(0, self.pause_s))

    async def _replace_elements(self) -> None:
        """Save a new element every two seconds, and delete the oldest one when there are more than three."""
        while self.remaining > 0:
            name = f"e{uuid.uuid4().hex[:12]}"
            body = element_body(element_name=name, external_task_id=name)
            data = await self.request_until_answered("POST", ELEMENTS, body, key=name)
            while data["task_status"] not in ("succeed", "failed"):
                await asyncio.sleep(0.3)
                data = await self.request_until_answered("GET", f"{ELEMENTS}/{data['task_id']}")
            self.elements.append(data["task_result"]["elements"][0]["element_id"])
            if len(self.elements) > 3:
                oldest = {"element_id": self.elements.pop(0)}
                await self.request_until_answered(
                    "POST", "/kling/v1/general/delete-elements", oldest, may_be_deleted=True
                )
            await asyncio.sleep(2)

    async def _submit(self, kind: str) -> None:
        body: dict[str, Any] = {"model_name": "direct", "prompt": "a fox"}
        images, watermarked = 1, kind == "watermarked"
        endpoint: TaskKind = "omni-image"
        match kind:
            case "several":
                images = body["n"] = self.rng.randint(2, 4)
            case "series":
                images = self.rng.randint(2, 5)
                body |= {"result_type": "series", "series_amount": images}
            case "watermarked":
                body["watermark_info"] = {"enabled": True}
            case "with an image":
                body["image_list"] = [{"image": image_base64(300 + self.rng.randrange(40), 300)}]
            case "with a large image":
                body["image_list"] = [{"image": LARGE}, {"image": "data:image/png;base64," + LARGE}]
            case "with a URL":
                body["image_list"] = [{"image": self.rng.choice(self.receivers) + f"/{self.rng.randrange(10**9)}.png"}]
            case "with an element":
                body |= {"element_list": [{"element_id": self.elements[-1] if self.elements else 101}]}
            case "by relay":
                images = body["n"] = self.rng.choice([1, 1, 2])
                body["model_name"] = "relay"
            case "cancelled":
                endpoint = self.rng.choice(["omni-image", "generations"])
                body["prompt"] = "slow 5"
            case "refused":
                body["prompt"] = "decline"
            case "failing":
                body["prompt"] = "break"
            case "by previz":
                body["model_name"] = "previz"
            case "generation":
                endpoint = "generations"
                images = body["n"] = self.rng.randint(1, 3)
                body |= {"negative_prompt": "snow", "image": image_base64(), "image_reference": "subject"}
            case "combination":
                endpoint = "multi-image2image"
                body |= {"subject_image_list": [{"subject_image": image_base64()}], "style_image": image_base64()}
            case "expansion":
                endpoint = "expand"
                images = body["n"] = self.rng.randint(1, 2)
                body |= {"image": image_base64(), "right_expansion_ratio": 0.5}
            case "try-on":
                endpoint = "try-on"
                body = {"model_name": "direct", "human_image": image_base64(), "cloth_image": image_base64()}
        if endpoint != "omni-image" and kind != "cancelled":
            body["model_name"] = self.rng.choice(["direct", "relay"])
        name = uuid.uuid4().hex
        if self.rng.random() < 0.5:
            body["external_task_id"] = name
        callback_receiver = self.rng.choice(["", *self.receivers])
        if callback_receiver:
            body["callback_url"] = f"{callback_receiver}/hook"
        data = await self.request_until_answered("POST", f"/kling{TASK_PATHS[endpoint]}", body, key=name)
        if "task_id" not in data:
            assert kind == "with an element", data
            self.remaining += 1  # the element has just been deleted
            return
        sent = SentTask(
            data["task_id"], kind, images, callback_receiver, watermarked, endpoint, body["model_name"] == "relay"
        )
        self.sent.append(sent)
        if kind == "cancelled":
            await asyncio.sleep(self.rng.uniform(0, 2))
            await self.request_until_answered("POST", f"{sent.path}/cancel", {})

    async def request_until_answered(
        self, method: str, path: str, body: Any = None, *, key: str = "", may_be_deleted: bool = False
    ) -> dict[str, Any]:
        """Repeat a request until the API answers it, and return the data of the answer.

        `key` is the idempotency key, by which the API recognizes the repetitions of a request. Returns an empty object
        if an element of the request does not exist, or for any error 1201 with `may_be_deleted`.
        """
        end = time.monotonic() + 240
        while True:
            try:
                async with httpx.AsyncClient(timeout=15, base_url=self.rng.choice(self.servers)) as http:
                    headers = {"Authorization": f"Bearer {self._token()}"} | ({"Idempotency-Key": key} if key else {})
                    answer = await http.request(method, path, json=body, headers=headers)
                response = answer.json()
                self.answers[f"{answer.status_code} {response['code']}"] += 1
                if answer.status_code == 200:
                    data: dict[str, Any] = response.get("data") or {}
                    return data
                if response["code"] == 1201 and (may_be_deleted or "element" in response["message"]):
                    return {}
                assert response["code"] in (1303, 5001, 5000), response
                assert response["code"] != 5000, response
            except (httpx.TransportError, json.JSONDecodeError) as error:
                self.answers[type(error).__name__] += 1
            assert time.monotonic() < end, f"{method} {path} was not answered"
            await asyncio.sleep(self.rng.uniform(0.05, 0.4))

    def _token(self) -> str:
        """The API key, or a JWT. The JWT is valid from a day ago for two days, because clocks jump."""
        if self.rng.random() < 0.7:
            return self.key
        now = int(time.time())
        return jwt.encode({"iss": self.signing[0], "exp": now + 86_400, "nbf": now - 86_400}, self.signing[1])
