"""A proxy that loses requests or responses: it closes the connection instead of returning the response."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.support.sockets import listening, read_head


@dataclass
class LosingProxy:
    """`loses` returns whether the response to a request is lost, by its method and path.

    With `forward`, the server receives a request whose response is lost. `requests` contains all requests.
    """

    target: str
    loses: Callable[[str, str], bool]
    forward: bool = True
    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, headers = await read_head(reader)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append((method, path, headers))
        lost = self.loses(method, path)
        if lost and not self.forward:
            return
        forwarded = {name: value for name, value in headers.items() if name not in ("host", "content-length")}
        async with httpx.AsyncClient(timeout=60) as http:
            response = await http.request(method, self.target + path, headers=forwarded, content=body)
        if lost:
            return
        kept = {n: v for n, v in response.headers.items() if n not in ("content-length", "transfer-encoding")}
        lines = [f"{name}: {value}\r\n" for name, value in kept.items()]
        head = f"HTTP/1.1 {response.status_code} X\r\n{''.join(lines)}"
        writer.write(f"{head}connection: close\r\ncontent-length: {len(response.content)}\r\n\r\n".encode())
        writer.write(response.content)
        await writer.drain()


@asynccontextmanager
async def losing_proxy(
    target: str, loses: Callable[[str, str], bool], *, forward: bool = True
) -> AsyncIterator[LosingProxy]:
    proxy = LosingProxy(target, loses, forward)
    async with listening(proxy.serve) as proxy.url:
        yield proxy
