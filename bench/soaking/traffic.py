"""What clients do, well and badly: one method per habit, all the time, at one rate."""

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
from soaking.random_images import image, sent

PATH = "/kling/v1/images/omni-image"
ELEMENTS = "/kling/v1/general/advanced-custom-elements"
ENDED = ("succeed", "failed")
Body = dict[str, Any]


class Wrong(Exception):
    """The server answered what it should not."""


@dataclass
class Seen:
    """What the clients saw. `times` are (when, what, milliseconds) by the monotonic clock."""

    times: list[tuple[float, str, float]] = field(default_factory=list)
    habits: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    """Tasks that were answered as accepted."""
    told_of: set[str] = field(default_factory=set)
    """Tasks with a callback."""


class Traffic:
    """The clients of one server. `run` until cancelled starts a habit every so often and waits for none."""

    def __init__(self, url: str, key: str, small_key: str, others: OutsideServer, *, rate: float) -> None:
        self.seen = Seen()
        self._url = url
        self._others = others
        self._every_s = 1 / rate
        self._headers = {"Authorization": f"Bearer {key}"}
        self._small_key = small_key
        self._http = self._client()
        self._running: set[asyncio.Task[None]] = set()
        habits: dict[Callable[[], Awaitable[None]], int] = {
            self.single: 12, self.series: 5, self.poll: 6, self.callback: 8, self.abandon_a_poll: 4, self.cancel: 4,
            self.fail: 4, self.be_refused: 4, self.use_a_wrong_key: 3, self.list_all: 4, self.send_pictures: 4,
            self.send_a_large_picture: 1, self.name_images: 4, self.name_a_missing_picture: 1,
            self.send_a_broken_picture: 1, self.make_an_element: 2, self.open_the_console: 3, self.leave_in_the_body: 3,
            self.leave_before_the_answer: 2, self.ask_for_too_much: 2, self.repeat: 2, self.preview: 2,
            self.download_in_parts: 3,
        }  # fmt: skip
        self._deck = [habit for habit, count in habits.items() for _ in range(count)]

    def _client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        return httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=70, limits=limits)

    async def run(self, seconds: float) -> None:
        """As many seconds, the same mix all the time; all habits are at their end when this returns."""
        chances = random.Random(1)
        began, started, cards = time.monotonic(), 0, list[Callable[[], Awaitable[None]]]()
        while time.monotonic() - began < seconds:
            if not cards:
                cards = self._deck.copy()
                chances.shuffle(cards)
            task = asyncio.create_task(self._do(cards.pop()))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            started += 1
            await asyncio.sleep(max(0.0, began + started * self._every_s - time.monotonic()))
        await asyncio.gather(*self._running)
        await self._http.aclose()
        self._http = self._client()

    async def close(self) -> None:
        await self._http.aclose()

    async def _do(self, habit: Callable[[], Awaitable[None]]) -> None:
        name = habit.__name__
        self.seen.habits[name] += 1
        try:
            async with asyncio.timeout(120):
                await habit()
        except (Wrong, httpx.HTTPError, TimeoutError, KeyError, ValueError, AssertionError) as error:
            self.seen.wrong[f"{name}: {type(error).__name__} {error}"[:200]] += 1

    # --- what they are made of ---------------------------------------------------------------------------------------

    async def _ask(self, what: str, method: str, path: str, *, status: int = 200, code: int = 0, **options: Any) -> Any:
        began = time.monotonic()
        answer = await self._http.request(method, path, **options)
        now = time.monotonic()
        self.seen.times.append((now, what, (now - began) * 1000))
        told = answer.json()
        if (answer.status_code, told["code"]) != (status, code):
            raise Wrong(f"{answer.status_code} {answer.text[:120]}")
        return told.get("data")

    async def _send(self, prompt: str = "a fox", *, what: str = "", **fields: Any) -> str:
        """Accepted: the task's id."""
        body = {"model_name": "kling-v3-omni", "prompt": prompt} | fields
        data = await self._ask(what or "accept", "POST", PATH, json=body)
        task_id: str = data["task_id"]
        self.seen.accepted.add(task_id)
        if "callback_url" in fields:
            self.seen.told_of.add(task_id)
        return task_id

    async def _ended(self, task_id: str, status: str = "succeed") -> Body:
        """By long polls."""
        while True:
            data: Body = await self._ask("wait", "GET", f"{PATH}/{task_id}?wait=30")
            if data["task_status"] in ENDED:
                break
        if data["task_status"] != status:
            raise Wrong(f"{data['task_status']} {data['task_status_msg']}")
        return data

    async def _poll(self, path: str) -> Body:
        """As clients do that know nothing of long polls."""
        while True:
            data: Body = await self._ask("poll", "GET", path)
            if data["task_status"] in ENDED:
                return data
            await asyncio.sleep(0.3)

    async def _fetch(self, url: str, *, status: int = 200, size: int | None = None, **headers: str) -> int:
        answer = await self._http.get(url.replace("http://localhost", "http://127.0.0.1"), headers=headers)
        if answer.status_code != status or (size is not None and len(answer.content) != size):
            raise Wrong(f"picture: {answer.status_code}, {len(answer.content)} bytes")
        return len(answer.content)

    async def _half_a_request(self, head: str, body: bytes, *, stay_s: float) -> None:
        where = urlsplit(self._url)
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        auth = self._headers["Authorization"]
        writer.write(f"{head} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: {auth}\r\n".encode() + body)
        await writer.drain()
        await asyncio.sleep(stay_s)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    # --- habits ------------------------------------------------------------------------------------------------------

    async def single(self) -> None:
        data = await self._ended(await self._send(n=random.randint(1, 4)))
        for image in data["task_result"]["images"]:
            await self._fetch(image["url"])

    async def series(self) -> None:
        task_id = await self._send(result_type="series", series_amount=3, watermark_info={"enabled": True})
        for image in (await self._ended(task_id))["task_result"]["series_images"]:
            await self._fetch(image["watermark_url"])

    async def poll(self) -> None:
        task_id = await self._send("slow 1", n=2)
        await self._poll(f"{PATH}/{task_id}")

    async def callback(self) -> None:
        how = random.choice(["well", "well", "well", "late", "cut"])
        await self._send(n=random.randint(1, 3), callback_url=f"{self._others.url}/hooks/{how}")

    async def abandon_a_poll(self) -> None:
        task_id = await self._send("slow 3")
        await self._half_a_request(f"GET {PATH}/{task_id}?wait=60", b"\r\n", stay_s=0.5)

    async def cancel(self) -> None:
        task_id = await self._send("slow 5", n=3)
        await asyncio.sleep(random.random())
        data = await self._ask("cancel", "POST", f"{PATH}/{task_id}/cancel")
        if data["task_status_msg"] != "Canceled":
            raise Wrong(str(data))

    async def fail(self) -> None:
        prompt = random.choice(["decline", "break"])
        await self._ended(await self._send(prompt, callback_url=f"{self._others.url}/hooks/well"), "failed")

    async def be_refused(self) -> None:
        body = {"model_name": "kling-v3-omni", "prompt": "", "n": 99, "aspect_ratio": "1:9"}
        await self._ask("refuse", "POST", PATH, json=body, status=400, code=1201)
        await self._ask("refuse", "POST", PATH, json={"model_name": "x", "prompt": "x"}, status=404, code=1203)
        headers = {"Content-Type": "application/json"}
        await self._ask("refuse", "POST", PATH, content=b"{", headers=headers, status=400, code=1200)

    async def use_a_wrong_key(self) -> None:
        headers = {"Authorization": f"Bearer fh_{uuid4().hex}"}
        await self._ask("refuse", "POST", PATH, json={"prompt": "x"}, headers=headers, status=401, code=1002)

    async def list_all(self) -> None:
        await self._ask("list", "GET", f"{PATH}?pageNum=1&pageSize=100&include=request,pictures")
        await self._ask("list", "GET", f"{ELEMENTS}?pageNum=1&pageSize=30")

    async def send_pictures(self) -> None:
        images = [{"image": sent(0)}, {"image": f"data:image/png;base64,{sent(1)}"}]
        task_id = await self._send("<<<image_1>>> and <<<image_2>>>", what="accept with pictures", image_list=images)
        await self._ended(task_id)

    async def send_a_large_picture(self) -> None:
        await self._ended(await self._send("x", what="accept with pictures", image_list=[{"image": sent(7)}]))

    async def name_images(self) -> None:
        images = [{"image": f"{self._others.url}/pictures/{uuid4().int}.png"} for _ in range(2)]
        await self._ended(await self._send("x", what="accept with pictures", image_list=images))

    async def name_a_missing_picture(self) -> None:
        images = [{"image": f"{self._others.url}/pictures/none.png"}]
        await self._ended(await self._send("x", what="accept with pictures", image_list=images), "failed")

    async def send_a_broken_picture(self) -> None:
        """Its header is good, its pixels end early."""
        images = [{"image": b64encode(image(1)[:200_000]).decode()}]
        await self._ended(await self._send("x", what="accept with pictures", image_list=images), "failed")

    async def make_an_element(self) -> None:
        images = {"frontal_image": sent(0), "refer_images": [{"image_url": f"{self._others.url}/pictures/1.png"}]}
        body = {"element_name": "Bag", "element_description": "A red bag", "element_image_list": images}
        made = await self._ask("element", "POST", ELEMENTS, json=body)
        data = await self._poll(f"{ELEMENTS}/{made['task_id']}")
        element = int(data["task_result"]["elements"][0]["element_id"])
        task_id = await self._send("<<<element_1>>> on a beach", element_list=[{"element_id": element}])
        delete = "/kling/v1/general/delete-elements"
        await self._ask("element", "POST", delete, json={"element_id": str(element)})
        await self._ended(task_id)

    async def open_the_console(self) -> None:
        for path in ("/", "/console/config.json", "/docs", "/healthz", "/readyz", "/metrics", "/openapi.json"):
            answer = await self._http.get(path, follow_redirects=True)
            if answer.status_code != 200:
                raise Wrong(f"{path}: {answer.status_code}")

    async def leave_in_the_body(self) -> None:
        head = b"Content-Type: application/json\r\nContent-Length: 3000000\r\n\r\n"
        body = json.dumps({"model_name": "kling-v3-omni", "image_list": [{"image": sent(1)}]}).encode()
        await self._half_a_request(f"POST {PATH}", head + body, stay_s=0.1)

    async def leave_before_the_answer(self) -> None:
        """Nobody knows whether it was accepted."""
        body = json.dumps({"model_name": "kling-v3-omni", "prompt": "slow 1"}).encode()
        head = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        await self._half_a_request(f"POST {PATH}", head + body, stay_s=0.0)

    async def ask_for_too_much(self) -> None:
        headers = {"Authorization": f"Bearer {self._small_key}"}
        body = {"model_name": "kling-v3-omni", "prompt": "x", "n": 3}
        await self._ask("refuse", "POST", PATH, json=body, headers=headers, status=429, code=1303)

    async def repeat(self) -> None:
        name = uuid4().hex
        body = {"model_name": "kling-v3-omni", "prompt": "x", "external_task_id": name}
        tickets = [
            await self._ask("accept", "POST", PATH, json=body, headers={"Idempotency-Key": name}) for _ in range(2)
        ]
        if tickets[0]["task_id"] != tickets[1]["task_id"]:
            raise Wrong("a repeat was another task")
        self.seen.accepted.add(tickets[0]["task_id"])
        await self._ask("refuse", "POST", PATH, json=body, status=400, code=1201)
        await self._ended(name)

    async def preview(self) -> None:
        await self._ended(await self._send("a red fox in the forest", model_name="kling-image-o1"))

    async def download_in_parts(self) -> None:
        data = await self._ended(await self._send())
        url = data["task_result"]["images"][0]["url"]
        whole = await self._fetch(url)
        await self._fetch(url, status=206, size=100, Range="bytes=0-99")
        await self._fetch(url, status=206, size=whole - 100, Range="bytes=100-")
        await self._fetch(url, status=416, size=0, Range=f"bytes={whole + 1}-")
