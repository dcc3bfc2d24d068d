"""An upstream with the contract's API on a real socket. It is strict, and it fails in the ways that a test selects."""

import asyncio
import base64
import io
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
from PIL import Image

from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.model import Catalog, Model
from framehouse.domain.request import parse_request
from framehouse.domain.sizes import size_of
from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from tests.support.sockets import listening, read_head

PATH = "/kling/v1/images/omni-image"
_KINDS: dict[str, TaskKind] = {f"/kling{path}": kind for kind, path in TASK_PATHS.items()}
Fault = Callable[[str, str], str]
"""Returns the fault for a method and a path; empty for no fault. `Upstream._misbehave` lists the faults.

With the prefix "before ", the fault occurs before the request is processed.
"""


@dataclass
class UpstreamTask:
    """A task that the upstream accepted. It ends at `ends_at`, with `status` and `message`."""

    id: str
    account: str
    body: dict[str, Any]
    images: int
    ends_at: float
    status: str = "succeed"
    message: str = ""
    kind: TaskKind = "omni-image"

    @property
    def ended(self) -> bool:
        return time.monotonic() >= self.ends_at


@dataclass
class Upstream:
    """The state of the upstream.

    `accounts` maps API keys to the number of images that each account may have in flight. An API key is also an access
    key for JWTs, whose secret key is "secret of <access key>". `seconds` is the mean time of a task. `finds_external`:
    a task can be queried by its external id. `dedupes`: a second task with the same external id is rejected.
    `without_balance` contains the accounts that have no units left. `size_divisor`: images are smaller by this factor.
    A list contains `page_size` tasks per page. `new_id` creates the id of a task. `after_post` is called with the body
    of each accepted order.
    `refuse` returns the status and the body with which an account's order is refused, or None to accept the order.
    `rewrite` receives the method, the path, the status and the JSON body of each response of the API, and returns the
    status and the body that are sent. In both functions, a body that is a string is sent as HTML.
    """

    accounts: dict[str, int]
    seconds: float = 0.0
    finds_external: bool = True
    dedupes: bool = True
    fault: Fault = lambda _method, _path: ""
    url: str = ""
    tasks: dict[str, UpstreamTask] = field(default_factory=dict)
    posts: list[dict[str, Any]] = field(default_factory=list)
    generated: Counter[str] = field(default_factory=Counter)
    max_in_flight: Counter[str] = field(default_factory=Counter)
    cancelled: list[str] = field(default_factory=list)
    without_balance: set[str] = field(default_factory=set)
    on_post: Callable[[dict[str, Any]], None] = lambda _body: None
    after_post: Callable[[dict[str, Any]], None] = lambda _body: None
    new_id: Callable[[], str] = field(default_factory=lambda: map("up-{}".format, itertools.count()).__next__)
    delay_s: float = 1.0
    size_divisor: int = 8
    page_size: int = 100
    refuse: Callable[[str], tuple[int, Any] | None] = lambda _account: None
    rewrite: Callable[[str, str, int, Any], tuple[int, Any]] = lambda _method, _path, status, body: (status, body)
    _images: dict[str, bytes] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.url}/kling"

    def in_flight(self, account: str) -> int:
        return sum(task.images for task in self.tasks.values() if task.account == account and not task.ended)

    def find_by_external_id(self, account: str, external_id: str) -> UpstreamTask | None:
        return next(
            (
                task
                for task in self.tasks.values()
                if task.account == account and task.body.get("external_task_id") == external_id
            ),
            None,
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_open = True
        while keep_open:
            method, target, headers = await read_head(reader)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            keep_open = await self._exchange(method, target, headers, body, writer)

    async def _exchange(
        self, method: str, target: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request. Returns false if the connection must be closed."""
        path, _, query = target.partition("?")
        fault = self.fault(method, path)
        if fault.startswith("before "):
            return await self._misbehave(fault.removeprefix("before "), b"", writer)
        if fault == "late":  # the request is processed after the client has stopped waiting for the answer
            asyncio.get_running_loop().call_later(self.delay_s, self._answer, method, path, query, headers, body)
            return False
        status, type_, content = self._answer(method, path, query, headers, body)
        if fault == "doubled":  # a proxy sends the request twice
            status, type_, content = self._answer(method, path, query, headers, body)
        if type_ == "application/json":
            status, type_, content = _response(*self.rewrite(method, path, status, json.loads(content)))
        answer = (
            f"HTTP/1.1 {status} X\r\nContent-Type: {type_}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        )
        if fault:
            return await self._misbehave(fault, answer, writer)
        writer.write(answer)
        await writer.drain()
        return True

    async def _misbehave(self, fault: str, answer: bytes, writer: asyncio.StreamWriter) -> bool:
        match fault:
            case "cut":
                return False
            case "half":
                writer.write(answer[: len(answer) // 2])
            case "delay":
                await asyncio.sleep(self.delay_s)
                writer.write(answer)
            case "answered twice":
                writer.write(answer + answer)
            case "html":
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html></html>")
            case "nonsense":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n[1,2,{}]")
            case "no id":
                writer.write(_json(200, {"code": 0, "message": "SUCCEED", "data": {}}))
            case _:  # an HTTP status and an error code of the contract, such as "503 5001" or "429 1303"
                status, _, code = fault.partition(" ")
                writer.write(_json(int(status), {"code": int(code), "message": f"code {code}", "request_id": "r"}))
        await writer.drain()
        return False

    def _answer(
        self, method: str, path: str, query: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        if path.startswith("/images/"):
            content = self._images.get(path.removeprefix("/images/"))
            return (200, "image/png", content) if content else (404, "text/plain", b"")
        account = self._account(headers.get("authorization", ""))
        if account is None:
            return _envelope(401, 1002, "Authorization is wrong")
        if method == "POST" and path in _KINDS:
            return self._submit(account, _KINDS[path], json.loads(body))
        if method == "POST" and path.endswith("/cancel"):
            self.cancelled.append(path.split("/")[-2])
            return _envelope(200, 0, "SUCCEED")
        if method == "GET" and path in _KINDS:
            tasks = [task for task in self.tasks.values() if task.account == account and task.kind == _KINDS[path]]
            tasks.reverse()
            start = (int(parse_qs(query)["pageNum"][0]) - 1) * self.page_size
            return _envelope(200, 0, "SUCCEED", [self._data(task) for task in tasks[start : start + self.page_size]])
        kind = next((kind for start, kind in _KINDS.items() if path.startswith(f"{start}/")), None)
        if method == "GET" and kind:
            id = path.removeprefix(f"/kling{TASK_PATHS[kind]}/")
            task = self.tasks.get(id)
            if task is None and self.finds_external:
                task = self.find_by_external_id(account, id)
            if task is None or task.account != account or task.kind != kind:
                return _envelope(400, 1201, f"Task not found by id/external id: {id}")
            return _envelope(200, 0, "SUCCEED", self._data(task))
        return _envelope(404, 1202, "no such path")

    def _account(self, authorization: str) -> str | None:
        token = authorization.removeprefix("Bearer ")
        if token in self.accounts:
            return token
        for key in self.accounts:
            try:
                claims = jwt.decode(token, f"secret of {key}".ljust(32), algorithms=["HS256"])
            except jwt.InvalidTokenError:
                continue
            if claims["iss"] == key and claims["exp"] - claims["nbf"] <= 3600:
                return key
        return None

    def _submit(self, account: str, kind: TaskKind, body: dict[str, Any]) -> tuple[int, str, bytes]:
        self.posts.append(body)
        self.on_post(body)
        if account in self.without_balance:
            return _envelope(429, 1102, "Account balance not enough")
        if refusal := self.refuse(account):
            return _response(*refusal)
        request = parse_request(
            body, Catalog([Model(body.get("model_name", "any"))]), kind
        )  # an invalid request raises, which fails the test
        external_id = body["external_task_id"]
        if self.dedupes and self.find_by_external_id(account, external_id):
            return _envelope(400, 1201, f"External_task_id {external_id} already exists")
        images = request.amount or 4
        if self.in_flight(account) + images > self.accounts[account]:
            return _envelope(429, 1303, "parallel task over resource pack limit")
        task = UpstreamTask(
            self.new_id(),
            account,
            body,
            images,
            time.monotonic() + self.seconds * random.uniform(0.5, 1.5),
            kind=kind,
        )
        if "refuse" in request.prompt:
            return _envelope(400, 1301, "refused content")
        if "fail" in request.prompt:
            task.status, task.message = "failed", "it did not work out"
        self.tasks[task.id] = task
        self.generated[external_id] += 1
        self.max_in_flight[account] = max(self.max_in_flight[account], self.in_flight(account))
        self.after_post(body)
        return _envelope(200, 0, "SUCCEED", self._data(task) | {"task_status": "submitted"})

    def add_task(self, account: str, external_id: str) -> None:
        """Add a task of another client of the same account."""
        task = UpstreamTask(self.new_id(), account, {"external_task_id": external_id}, 1, 0.0)
        self.tasks[task.id] = task

    def _data(self, task: UpstreamTask) -> dict[str, Any]:
        data = {
            "task_id": task.id,
            "task_info": {"external_task_id": task.body["external_task_id"]},
            "task_status": task.status if task.ended else "processing",
            "task_status_msg": task.message if task.ended else "",
            "created_at": 1,
            "updated_at": 2,
        }
        if data["task_status"] == "succeed":
            result_type = task.body.get("result_type")
            images = [{"index": n, "url": self._image(task, n)} for n in reversed(range(task.images))]
            data["task_result"] = {
                "result_type": result_type,
                "images": [] if result_type == "series" else images,
                "series_images": images if result_type == "series" else [],
            }
            if task.kind != "omni-image":
                data["task_result"] = {"images": images}
        return data

    def _image(self, task: UpstreamTask, index: int) -> str:
        name = f"{task.id}-{index}.png"
        if name not in self._images:
            size = size_of(task.body.get("aspect_ratio", "1:1"), "1k")
            if task.kind == "expand":
                with Image.open(io.BytesIO(base64.b64decode(task.body["image"]))) as original:
                    sides = ("up", "down", "left", "right")
                    expansion = Expansion(**{side: task.body[f"{side}_expansion_ratio"] for side in sides})
                    size, _ = layout(expansion, *original.size)
            colour = (random.randrange(256), random.randrange(256), index * 20)
            buffer = io.BytesIO()
            Image.new("RGB", (size.width // self.size_divisor, size.height // self.size_divisor), colour).save(
                buffer, "PNG"
            )
            self._images[name] = buffer.getvalue()
        return f"{self.url}/images/{name}"


def _response(status: int, body: Any) -> tuple[int, str, bytes]:
    if isinstance(body, str):
        return status, "text/html", body.encode()
    return status, "application/json", json.dumps(body).encode()


def _envelope(status: int, code: int, message: str, data: Any = None) -> tuple[int, str, bytes]:
    answer = {"code": code, "message": message, "request_id": "r"} | ({} if data is None else {"data": data})
    return status, "application/json", json.dumps(answer).encode()


def _json(status: int, answer: dict[str, Any]) -> bytes:
    content = json.dumps(answer).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def upstream(**options: Any) -> AsyncIterator[Upstream]:
    """Run an upstream on a free loopback port. By default, the account "key" may have 100 images in flight."""
    server = Upstream(**({"accounts": {"key": 100}} | options))
    async with listening(server.serve) as server.url:
        yield server
