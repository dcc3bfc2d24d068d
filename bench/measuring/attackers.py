"""Attack a server with the key of one account, until the process is killed: attackers.py ATTACK URL KEY.

Each attack uses as much of one scarce resource as the server permits: places in the queue, connections, decoding
processes, memory for bodies, lookups of hosts, or deliveries of callbacks. The process has the lowest priority, because
attackers normally run on other machines.
"""

import asyncio
import base64
import io
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import numpy as np
from PIL import Image

from framehouse.adapters.images.decode import take_low_priority
from measuring.framehouse_processes import PATH

SLOW_TASK = {"model_name": "attacked", "prompt": "slow 5"}


class Attacker:
    """A client that sends requests, and ignores refusals and lost connections."""

    def __init__(self, url: str, key: str) -> None:
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=90, limits=limits)

    async def send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with suppress(httpx.HTTPError):
            return (await self._http.request(method, path, **options)).json().get("data") or {}
        await asyncio.sleep(0.1)
        return {}

    async def create_task(self, **fields: Any) -> str:
        return str((await self.send("POST", PATH, json=SLOW_TASK | fields)).get("task_id", ""))

    async def create_tasks(self) -> None:
        """Queue tasks of nine images."""
        while True:
            await self.create_task(n=9)
            await asyncio.sleep(0.02)

    async def poll(self) -> None:
        """Keep 900 long polls open."""
        task = await self.create_task()

        async def wait() -> None:
            while True:
                await self.send("GET", f"{PATH}/{task}?wait=60")
                await asyncio.sleep(1)

        await asyncio.gather(*(wait() for _ in range(900)))

    async def send_images(self) -> None:
        """Send large images that take long to decode."""
        noise = np.random.default_rng(1).integers(0, 255, (3000, 3000, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "JPEG", quality=30, progressive=True)

        async def send(number: int) -> None:
            while True:  # each file has different bytes, because the server decodes equal files only once
                content = base64.b64encode(file.getvalue() + number.to_bytes(4, "big")).decode()
                await self.create_task(image_list=[{"image": content}])
                number += 8

        await asyncio.gather(*(send(number) for number in range(8)))

    async def send_references(self) -> None:
        """Send references at a host that accepts connections and never responds."""
        async with silent_hosts(1) as (host,):
            while True:
                await self.create_task(image_list=[{"image": f"{host}/image.png"}])
                await asyncio.sleep(0.05)

    async def send_slow_bodies(self) -> None:
        """Send large bodies at nearly the lowest permitted rate."""

        async def body() -> Any:
            yield b'{"model_name": "attacked", "prompt": "a fox", "image_list": [{"image": "'
            for _ in range(100):
                yield b"A" * 40_000
                await asyncio.sleep(1)

        async def send() -> None:
            while True:
                headers = {"Content-Type": "application/json", "Content-Length": "100000000"}
                await self.send("POST", PATH, content=body(), headers=headers)

        await asyncio.gather(*(send() for _ in range(20)))

    async def send_callbacks(self) -> None:
        """Cancel tasks whose callbacks go to hosts that never respond."""
        async with silent_hosts(200) as hosts:
            for host in itertools.cycle(hosts):
                task = await self.create_task(callback_url=f"{host}/")
                await self.send("POST", f"{PATH}/{task}/cancel")
                await asyncio.sleep(0.02)


@asynccontextmanager
async def silent_hosts(count: int) -> AsyncIterator[list[str]]:
    """Serve this number of loopback addresses that accept connections and never respond. Yields their URLs."""

    async def never_respond(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    addresses = [f"127.0.0.{number}" for number in range(1, count + 1)]
    server = await asyncio.start_server(never_respond, addresses, 0)
    async with server:
        yield ["http://{}:{}".format(*opened.getsockname()) for opened in server.sockets]


ATTACKS: dict[str, Callable[[Attacker], Coroutine[Any, Any, None]]] = {
    "a long queue": Attacker.create_tasks,
    "900 long polls": Attacker.poll,
    "images that are slow to decode": Attacker.send_images,
    "references at a silent host": Attacker.send_references,
    "large and slow bodies": Attacker.send_slow_bodies,
    "callbacks to silent hosts": Attacker.send_callbacks,
}


if __name__ == "__main__":
    take_low_priority(19)  # real attackers run on other machines
    asyncio.run(ATTACKS[sys.argv[1]](Attacker(*sys.argv[2:4])))
