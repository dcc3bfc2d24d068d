"""A receiver of callbacks that also serves reference images, as a process that can be killed.

`python -m tests.support.chaos.receiver PORT LOG [ADDRESS]` appends each accepted message to LOG before it answers. At
random it refuses a message, cuts the connection after it has accepted a message, or answers late.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

from tests.support.image_files import image_file
from tests.support.sockets import read_head

IMAGE = image_file(500, 400)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: Path) -> None:
    try:
        method, _, headers = await read_head(reader)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        luck = random.random()
        if method == "GET":
            if luck < 0.1:
                await answer(writer, "503 Service Unavailable")
            else:
                await answer(writer, "200 OK", IMAGE)
            return
        if luck < 0.05:
            await answer(writer, "500 Internal Server Error")
            return
        data = json.loads(body)
        record = {"id": headers["webhook-id"], "task": data["task_id"], "status": data["task_status"]}
        with log.open("ab", buffering=0) as file:
            file.write(json.dumps(record).encode() + b"\n")
        if luck < 0.08:
            writer.transport.abort()
            return
        if luck < 0.1:
            await asyncio.sleep(3)
        await answer(writer, "200 OK")
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def answer(writer: asyncio.StreamWriter, status: str, body: bytes = b"") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


async def main(port: int, log: Path, address: str = "127.0.0.1") -> None:
    server = await asyncio.start_server(lambda r, w: serve(r, w, log), address, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4]))
