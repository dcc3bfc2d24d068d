"""Who the server meets: a host with pictures, and receivers of callbacks of which some fail at first."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from soaking.random_images import image


class OutsideServer:
    """One server on loopback. `/images/<number>.png` is there, other pictures are not; what comes to `/hooks/<how>`
    is kept in `statuses`, by task. `how`: `well` answers at once, `late` refuses the first try, `cut` breaks it off."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: dict[str, list[str]] = defaultdict(list)
        self.again: Counter[str] = Counter()
        self._tried: set[str] = set()
        self._image = image(1)

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
                    told = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
                    writer.write(told.encode() + content)
                    await writer.drain()
        writer.close()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        kind, _, name = path.strip("/").partition("/")
        if kind == "pictures" and name[:1].isdecimal():
            return "200 OK", self._image
        if kind != "hooks":
            return "404 Not Found", b""
        message = headers["webhook-id"]
        if name != "well" and message not in self._tried:
            self._tried.add(message)
            self.again[name] += 1
            return ("500 Internal Server Error", b"") if name == "late" else ("", b"")
        data = json.loads(body)
        self.statuses[data["task_id"]].append(data["task_status"])
        return "204 No Content", b""


@asynccontextmanager
async def outside_server() -> AsyncIterator[OutsideServer]:
    opened = OutsideServer()
    server = await asyncio.start_server(opened.serve, "127.0.0.1", 0)
    opened.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield opened
    finally:
        server.close()
