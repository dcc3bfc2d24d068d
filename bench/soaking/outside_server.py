"""A server outside of the deployment: it serves reference images, and receives callbacks that may fail at first."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from soaking.random_images import random_image


class OutsideServer:
    """A server on loopback.

    `/images/<number>.png` exists; other images do not exist. `/hooks/<behaviour>` receives callbacks and records their
    task statuses in `statuses`, by task id. `well` accepts each callback, `late` answers the first attempt with HTTP
    500, and `cut` closes the connection of the first attempt. `failed_attempts` counts these first attempts.
    """

    def __init__(self) -> None:
        self.url = ""
        self.statuses: dict[str, list[str]] = defaultdict(list)
        self.failed_attempts: Counter[str] = Counter()
        self._attempted: set[str] = set()
        self._image = random_image(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(30):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ", 2)[1]
                lines = (line.partition(":") for line in head.split("\r\n")[1:])
                headers = {name.lower(): value.strip() for name, _, value in lines}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, content = self._answer(path, headers, body)
                if status:
                    answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
                    writer.write(answer.encode() + content)
                    await writer.drain()
        writer.close()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        """Return the status and the body of the answer. With an empty status, no answer is sent."""
        kind, _, name = path.strip("/").partition("/")
        if kind == "images" and name[:1].isdecimal():
            return "200 OK", self._image
        if kind != "hooks":
            return "404 Not Found", b""
        message_id = headers["webhook-id"]
        if name != "well" and message_id not in self._attempted:
            self._attempted.add(message_id)
            self.failed_attempts[name] += 1
            return ("500 Internal Server Error", b"") if name == "late" else ("", b"")
        data = json.loads(body)
        self.statuses[data["task_id"]].append(data["task_status"])
        return "204 No Content", b""


@asynccontextmanager
async def outside_server() -> AsyncIterator[OutsideServer]:
    outside = OutsideServer()
    server = await asyncio.start_server(outside.serve, "127.0.0.1", 0)
    outside.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield outside
    finally:
        server.close()
