"""The traffic of the soak test: one method per scenario, started at a constant rate. Some clients behave badly."""

import asyncio
import json
import random
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from soaking.outside_server import OutsideServer
from soaking.random_images import random_image, random_image_base64

PATH = "/kling/v1/images/omni-image"
ELEMENTS = "/kling/v1/general/advanced-custom-elements"
FINAL_STATUSES = ("succeed", "failed")
Body = dict[str, Any]


class WrongAnswer(Exception):
    """The server returned another answer than the scenario expects."""


@dataclass
class Observations:
    """The observations of all clients.

    `times` are (time by the monotonic clock, kind of request, milliseconds). `scenarios` counts the started scenarios,
    `wrong_answers` the failed ones by their error. `accepted` are the ids of accepted tasks, `with_callback` those of
    tasks with a callback.
    """

    times: list[tuple[float, str, float]] = field(default_factory=list)
    scenarios: Counter[str] = field(default_factory=Counter)
    wrong_answers: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    with_callback: set[str] = field(default_factory=set)


class Traffic:
    """The clients of one server. `rate` is the number of scenarios that start per second."""

    def __init__(self, url: str, key: str, small_key: str, outside: OutsideServer, *, rate: float) -> None:
        self.observations = Observations()
        self._url = url
        self._outside = outside
        self._interval_s = 1 / rate
        self._headers = {"Authorization": f"Bearer {key}"}
        self._small_key = small_key
        self._http = self._client()
        self._running: set[asyncio.Task[None]] = set()
        scenarios: dict[Callable[[], Awaitable[None]], int] = {
            self.single: 12, self.series: 5, self.poll: 6, self.callback: 8, self.abandon_poll: 4, self.cancel: 4,
            self.fail: 4, self.invalid_request: 4, self.wrong_key: 3, self.lists: 4, self.references: 4,
            self.large_reference: 1, self.reference_urls: 4, self.missing_reference_url: 1,
            self.damaged_reference: 1, self.element: 2, self.console: 3, self.disconnect_in_body: 3,
            self.disconnect_before_answer: 2, self.exceed_quota: 2, self.repeated_request: 2, self.preview: 2,
            self.range_requests: 3,
        }  # fmt: skip
        self._mix = [scenario for scenario, count in scenarios.items() for _ in range(count)]

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=70, limits=limits)

    async def run(self, seconds: float) -> None:
        """Start scenarios for this time, always in the same mix, and wait until all of them have ended."""
        random_source = random.Random(1)
        began, started, next_scenarios = time.monotonic(), 0, list[Callable[[], Awaitable[None]]]()
        while time.monotonic() - began < seconds:
            if not next_scenarios:
                next_scenarios = self._mix.copy()
                random_source.shuffle(next_scenarios)
            task = asyncio.create_task(self._run_scenario(next_scenarios.pop()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            started += 1
            await asyncio.sleep(max(0.0, began + started * self._interval_s - time.monotonic()))
        await asyncio.gather(*self._running)
        await self._http.aclose()
        self._http = self._client()

    async def close(self) -> None:
        await self._http.aclose()

    async def _run_scenario(self, scenario: Callable[[], Awaitable[None]]) -> None:
        name = scenario.__name__
        self.observations.scenarios[name] += 1
        try:
            async with asyncio.timeout(120):
                await scenario()
        except (WrongAnswer, httpx.HTTPError, TimeoutError, KeyError, ValueError, AssertionError) as error:
            self.observations.wrong_answers[f"{name}: {type(error).__name__} {error}"[:200]] += 1

    # --- Requests ----------------------------------------------------------------------------------------------------

    async def _request(
        self, kind: str, method: str, path: str, *, status: int = 200, code: int = 0, **options: Any
    ) -> Any:
        """Send a request and return the `data` of the answer. `kind` is the kind of request in the table of times."""
        began = time.monotonic()
        answer = await self._http.request(method, path, **options)
        now = time.monotonic()
        self.observations.times.append((now, kind, (now - began) * 1000))
        body = answer.json()
        if (answer.status_code, body["code"]) != (status, code):
            raise WrongAnswer(f"{answer.status_code} {answer.text[:120]}")
        return body.get("data")

    async def _submit(self, prompt: str = "a fox", *, kind: str = "accept", **fields: Any) -> str:
        """Submit a task. Returns its id."""
        body = {"model_name": "kling-v3-omni", "prompt": prompt} | fields
        data = await self._request(kind, "POST", PATH, json=body)
        task_id: str = data["task_id"]
        self.observations.accepted.add(task_id)
        if "callback_url" in fields:
            self.observations.with_callback.add(task_id)
        return task_id

    async def _wait(self, task_id: str, status: str = "succeed") -> Body:
        """Wait with long polls for the end of a task, which must have this status."""
        while True:
            data: Body = await self._request("wait", "GET", f"{PATH}/{task_id}?wait=30")
            if data["task_status"] in FINAL_STATUSES:
                break
        if data["task_status"] != status:
            raise WrongAnswer(f"{data['task_status']} {data['task_status_msg']}")
        return data

    async def _poll(self, path: str) -> Body:
        """Poll until the end of a task, without long polls."""
        while True:
            data: Body = await self._request("poll", "GET", path)
            if data["task_status"] in FINAL_STATUSES:
                return data
            await asyncio.sleep(0.3)

    async def _fetch(self, url: str, *, status: int = 200, size: int | None = None, **headers: str) -> int:
        """Fetch an image. Returns its size in bytes."""
        answer = await self._http.get(url.replace("http://localhost", "http://127.0.0.1"), headers=headers)
        if answer.status_code != status or (size is not None and len(answer.content) != size):
            raise WrongAnswer(f"image: {answer.status_code}, {len(answer.content)} bytes")
        return len(answer.content)

    async def _disconnect(self, request_line: str, remainder: bytes, *, after_s: float) -> None:
        """Send a request, or a part of one, and close the connection without reading the answer."""
        parts = urlsplit(self._url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        authorization = self._headers["Authorization"]
        head = f"{request_line} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: {authorization}\r\n"
        writer.write(head.encode() + remainder)
        await writer.drain()
        await asyncio.sleep(after_s)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    # --- Scenarios ---------------------------------------------------------------------------------------------------

    async def single(self) -> None:
        data = await self._wait(await self._submit(n=random.randint(1, 4)))
        for image in data["task_result"]["images"]:
            await self._fetch(image["url"])

    async def series(self) -> None:
        task_id = await self._submit(result_type="series", series_amount=3, watermark_info={"enabled": True})
        for image in (await self._wait(task_id))["task_result"]["series_images"]:
            await self._fetch(image["watermark_url"])

    async def poll(self) -> None:
        task_id = await self._submit("slow 1", n=2)
        await self._poll(f"{PATH}/{task_id}")

    async def callback(self) -> None:
        behaviour = random.choice(["well", "well", "well", "late", "cut"])
        await self._submit(n=random.randint(1, 3), callback_url=f"{self._outside.url}/hooks/{behaviour}")

    async def abandon_poll(self) -> None:
        task_id = await self._submit("slow 3")
        await self._disconnect(f"GET {PATH}/{task_id}?wait=60", b"\r\n", after_s=0.5)

    async def cancel(self) -> None:
        task_id = await self._submit("slow 5", n=3)
        await asyncio.sleep(random.random())
        data = await self._request("cancel", "POST", f"{PATH}/{task_id}/cancel")
        if data["task_status_msg"] != "Canceled":
            raise WrongAnswer(str(data))

    async def fail(self) -> None:
        prompt = random.choice(["decline", "break"])
        await self._wait(await self._submit(prompt, callback_url=f"{self._outside.url}/hooks/well"), "failed")

    async def invalid_request(self) -> None:
        body = {"model_name": "kling-v3-omni", "prompt": "", "n": 99, "aspect_ratio": "1:9"}
        await self._request("refuse", "POST", PATH, json=body, status=400, code=1201)
        await self._request("refuse", "POST", PATH, json={"model_name": "x", "prompt": "x"}, status=404, code=1203)
        headers = {"Content-Type": "application/json"}
        await self._request("refuse", "POST", PATH, content=b"{", headers=headers, status=400, code=1200)

    async def wrong_key(self) -> None:
        headers = {"Authorization": f"Bearer fh_{uuid4().hex}"}
        await self._request("refuse", "POST", PATH, json={"prompt": "x"}, headers=headers, status=401, code=1002)

    async def lists(self) -> None:
        await self._request("list", "GET", f"{PATH}?pageNum=1&pageSize=100&include=pictures,request")
        await self._request("list", "GET", f"{ELEMENTS}?pageNum=1&pageSize=30")

    async def references(self) -> None:
        images = [
            {"image": random_image_base64(0)},
            {"image": f"data:image/png;base64,{random_image_base64(1)}"},
        ]
        await self._wait(await self._submit_references("<<<image_1>>> and <<<image_2>>>", images))

    async def large_reference(self) -> None:
        await self._wait(await self._submit_references("x", [{"image": random_image_base64(7)}]))

    async def reference_urls(self) -> None:
        images = [{"image": f"{self._outside.url}/images/{uuid4().int}.png"} for _ in range(2)]
        await self._wait(await self._submit_references("x", images))

    async def missing_reference_url(self) -> None:
        images = [{"image": f"{self._outside.url}/images/none.png"}]
        await self._wait(await self._submit_references("x", images), "failed")

    async def damaged_reference(self) -> None:
        """The header of the image is valid, but the file is cut off in its pixels."""
        images = [{"image": b64encode(random_image(1)[:200_000]).decode()}]
        await self._wait(await self._submit_references("x", images), "failed")

    async def _submit_references(self, prompt: str, images: list[dict[str, str]]) -> str:
        return await self._submit(prompt, kind="accept with references", image_list=images)

    async def element(self) -> None:
        images = {
            "frontal_image": random_image_base64(0),
            "refer_images": [{"image_url": f"{self._outside.url}/images/1.png"}],
        }
        body = {"element_name": "Bag", "element_description": "A red bag", "element_image_list": images}
        accepted = await self._request("element", "POST", ELEMENTS, json=body)
        data = await self._poll(f"{ELEMENTS}/{accepted['task_id']}")
        element_id = int(data["task_result"]["elements"][0]["element_id"])
        task_id = await self._submit("<<<element_1>>> on a beach", element_list=[{"element_id": element_id}])
        delete = "/kling/v1/general/delete-elements"
        await self._request("element", "POST", delete, json={"element_id": str(element_id)})
        await self._wait(task_id)

    async def console(self) -> None:
        for path in ("/", "/console/config.json", "/docs", "/healthz", "/readyz", "/metrics", "/openapi.json"):
            answer = await self._http.get(path, follow_redirects=True)
            if answer.status_code != 200:
                raise WrongAnswer(f"{path}: {answer.status_code}")

    async def disconnect_in_body(self) -> None:
        head = b"Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
        fields = {"model_name": "kling-v3-omni", "image_list": [{"image": random_image_base64(1)}]}
        await self._disconnect(f"POST {PATH}", head + json.dumps(fields).encode(), after_s=0.1)

    async def disconnect_before_answer(self) -> None:
        """It stays unknown whether the task was accepted."""
        body = json.dumps({"model_name": "kling-v3-omni", "prompt": "slow 1"}).encode()
        head = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        await self._disconnect(f"POST {PATH}", head + body, after_s=0.0)

    async def exceed_quota(self) -> None:
        headers = {"Authorization": f"Bearer {self._small_key}"}
        body = {"model_name": "kling-v3-omni", "prompt": "x", "n": 3}
        await self._request("refuse", "POST", PATH, json=body, headers=headers, status=429, code=1303)

    async def repeated_request(self) -> None:
        name = uuid4().hex
        body = {"model_name": "kling-v3-omni", "prompt": "x", "external_task_id": name}
        headers = {"Idempotency-Key": name}
        tickets = [await self._request("accept", "POST", PATH, json=body, headers=headers) for _ in range(2)]
        if tickets[0]["task_id"] != tickets[1]["task_id"]:
            raise WrongAnswer("a repeated request created another task")
        self.observations.accepted.add(tickets[0]["task_id"])
        await self._request("refuse", "POST", PATH, json=body, status=400, code=1201)
        await self._wait(name)

    async def preview(self) -> None:
        await self._wait(await self._submit("a red fox in the forest", model_name="kling-image-o1"))

    async def range_requests(self) -> None:
        data = await self._wait(await self._submit())
        url = data["task_result"]["images"][0]["url"]
        size = await self._fetch(url)
        await self._fetch(url, status=206, size=100, Range="bytes=0-99")
        await self._fetch(url, status=206, size=size - 100, Range="bytes=100-")
        await self._fetch(url, status=416, size=0, Range=f"bytes={size + 1}-")
