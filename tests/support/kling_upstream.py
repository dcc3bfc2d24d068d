"""An upstream of the contract on a real socket, strict where the contract is, and as unreliable as it is told to be."""

import asyncio
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

import jwt
from PIL import Image

from framehouse.domain.model import Model
from framehouse.domain.request import parse_request
from framehouse.domain.sizes import size_of
from tests.support.sockets import listening, read_head

PATH = "/kling/v1/images/omni-image"
Fault = Callable[[str, str], str]
"""From method and path to what goes wrong: see `Upstream._misbehave`. Empty: nothing."""


@dataclass
class UpstreamTask:
    """A task that was taken, and when it will have ended."""

    id: str
    account: str
    body: dict[str, Any]
    images: int
    ends_at: float
    status: str = "succeed"
    message: str = ""

    @property
    def ended(self) -> bool:
        return time.monotonic() >= self.ends_at


@dataclass
class Upstream:
    """`accounts` are keys and how many pictures each may have in flight; a secret key is "secret of <access key>"."""

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
    delay_s: float = 1.0
    size_divisor: int = 8
    _numbers: Any = field(default_factory=itertools.count)
    _images: dict[str, bytes] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        return f"{self.url}/kling"

    def in_flight(self, account: str) -> int:
        return sum(made.images for made in self.tasks.values() if made.account == account and not made.ended)

    def by_external(self, account: str, external_id: str) -> UpstreamTask | None:
        return next(
            (
                made
                for made in self.tasks.values()
                if made.account == account and made.body.get("external_task_id") == external_id
            ),
            None,
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        goes_on = True
        while goes_on:
            method, target, headers = await read_head(reader)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            goes_on = await self._exchange(method, target, headers, body, writer)

    async def _exchange(
        self, method: str, target: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; false ends the connection."""
        path, _, query = target.partition("?")
        fault = self.fault(method, path)
        if fault.startswith("before "):
            return await self._misbehave(fault.removeprefix("before "), b"", writer)
        if fault == "late":  # it is taken only when nobody waits for the answer any more
            asyncio.get_running_loop().call_later(self.delay_s, self._answer, method, path, query, headers, body)
            return False
        status, type_, content = self._answer(method, path, query, headers, body)
        if fault == "doubled":  # a proxy on the way that sends everything twice
            status, type_, content = self._answer(method, path, query, headers, body)
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
            case _:  # "503 5001", "429 1303", …: a status and a code of the contract
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
            return _plain(401, 1002, "Authorization is wrong")
        if method == "POST" and path == PATH:
            return self._submit(account, json.loads(body))
        if method == "POST" and path.endswith("/cancel"):
            self.cancelled.append(path.split("/")[-2])
            return _plain(200, 0, "SUCCEED")
        if method == "GET" and path == PATH:
            mine = [made for made in self.tasks.values() if made.account == account]
            return _plain(200, 0, "SUCCEED", [self._data(made) for made in reversed(mine)][:100])
        if method == "GET" and path.startswith(f"{PATH}/"):
            id = path.removeprefix(f"{PATH}/")
            made = self.tasks.get(id)
            if made is None and self.finds_external:
                made = self.by_external(account, id)
            if made is None or made.account != account:
                return _plain(400, 1201, f"Task not found by id/external id: {id}")
            return _plain(200, 0, "SUCCEED", self._data(made))
        return _plain(404, 1202, "no such path")

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

    def _submit(self, account: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        self.posts.append(body)
        self.on_post(body)
        if account in self.without_balance:
            return _plain(429, 1102, "Account balance not enough")
        request = parse_request(body, lambda name: Model(name))  # raises what the test then shows
        external_id = body["external_task_id"]
        if self.dedupes and self.by_external(account, external_id):
            return _plain(400, 1201, f"External_task_id {external_id} already exists")
        images = request.amount or 4
        if self.in_flight(account) + images > self.accounts[account]:
            return _plain(429, 1303, "parallel task over resource pack limit")
        made = UpstreamTask(
            f"up-{next(self._numbers)}",
            account,
            body,
            images,
            time.monotonic() + self.seconds * random.uniform(0.5, 1.5),
        )
        if "refuse" in request.prompt:
            return _plain(400, 1301, "refused content")
        if "fail" in request.prompt:
            made.status, made.message = "failed", "it did not work out"
        self.tasks[made.id] = made
        self.generated[external_id] += 1
        self.max_in_flight[account] = max(self.max_in_flight[account], self.in_flight(account))
        return _plain(200, 0, "SUCCEED", self._data(made) | {"task_status": "submitted"})

    def _data(self, made: UpstreamTask) -> dict[str, Any]:
        data = {
            "task_id": made.id,
            "task_info": {"external_task_id": made.body["external_task_id"]},
            "task_status": made.status if made.ended else "processing",
            "task_status_msg": made.message if made.ended else "",
            "created_at": 1,
            "updated_at": 2,
        }
        if data["task_status"] == "succeed":
            series = made.body["result_type"] == "series"
            images = [{"index": n, "url": self._image(made, n)} for n in reversed(range(made.images))]
            data["task_result"] = {
                "result_type": made.body["result_type"],
                "images": [] if series else images,
                "series_images": images if series else [],
            }
        return data

    def _image(self, made: UpstreamTask, index: int) -> str:
        name = f"{made.id}-{index}.png"
        if name not in self._images:
            size = size_of(made.body["aspect_ratio"], "1k")
            colour = (random.randrange(256), random.randrange(256), index * 20)
            buffer = io.BytesIO()
            Image.new("RGB", (size.width // self.size_divisor, size.height // self.size_divisor), colour).save(buffer, "PNG")
            self._images[name] = buffer.getvalue()
        return f"{self.url}/images/{name}"


def _plain(status: int, code: int, message: str, data: Any = None) -> tuple[int, str, bytes]:
    answer = {"code": code, "message": message, "request_id": "r"} | ({} if data is None else {"data": data})
    return status, "application/json", json.dumps(answer).encode()


def _json(status: int, answer: dict[str, Any]) -> bytes:
    content = json.dumps(answer).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


@asynccontextmanager
async def upstream(**options: Any) -> AsyncIterator[Upstream]:
    """One that serves on a free loopback port, with the account "key" for 100 pictures unless told otherwise."""
    served = Upstream(**({"accounts": {"key": 100}} | options))
    async with listening(served.serve) as served.url:
        yield served
