"""Load from outside: wrk as fast as it goes, pgbench likewise, and requests at a steady rate with the time each took."""

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from measuring.house import postgres_program

CLIENTS = 16


def need(program: str) -> str:
    """The path of a program that the system must have."""
    found = shutil.which(program)
    if not found:
        raise SystemExit(f"make bench needs {program}; install it (Debian: apt install {program}, macOS: brew).")
    return found


_LUA = """
local requests, n = {}, 0
function init(args)
  for line in io.lines("%s") do
    local method, path, key, body = line:match("^(%%S+) (%%S+) (%%S+) ?(.*)$")
    local headers = { ["Authorization"] = "Bearer " .. key, ["Content-Type"] = "application/json" }
    requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
  end
end
function request()
  n = n %% #requests + 1
  return requests[n]
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One of those that wrk sends in turn. It has no line breaks."""

    method: str
    path: str
    key: str = "none"
    body: str = ""


def wrk(url: str, requests: Sequence[Request], *, seconds: float, clients: int = CLIENTS) -> float:
    """Requests per second, all of which were answered well."""
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "requests", Path(folder) / "requests.lua"
        lines.write_text("".join(f"{r.method} {r.path} {r.key} {r.body}\n" for r in requests))
        script.write_text(_LUA % lines)
        command = [need("wrk"), "-t1", f"-c{clients}", f"-d{seconds:g}", "-s", str(script), url]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"Not all were answered well:\n{out}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert found, out
    return float(found[1])


def pgbench(database: str, script: str, *, seconds: int, clients: int = CLIENTS) -> float:
    """Runs of the script per second."""
    parts = urlsplit(database)
    where = {"PGHOST": parse_qs(parts.query)["host"][0], "PGUSER": parts.username or "", "PGDATABASE": parts.path[1:]}
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [postgres_program("pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", "2"]
        done = subprocess.run(
            [*command, "-T", str(seconds), "-f", file.name],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | where,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if not found or "aborted" in done.stderr:
        raise SystemExit(f"pgbench: {done.stderr[-2000:]}")
    return float(found[1])


async def steadily(
    port: int, requests: Sequence[Request], *, rate: float, seconds: float, connections: int = 64
) -> list[float]:
    """Seconds that each answer took, from when its request was due, whatever came before it."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    raw = [_bytes(request, port) for request in requests]
    took: list[float] = []
    began = time.perf_counter() + 0.05

    async def send(number: int) -> None:
        due = began + number / rate
        reader, writer = await free.get()
        writer.write(raw[number % len(raw)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert length
        await reader.readexactly(int(length[1]))
        took.append(time.perf_counter() - due)
        free.put_nowait((reader, writer))

    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            if (early := began + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            group.create_task(send(number))
    while not free.empty():
        free.get_nowait()[1].close()
    return took


def _bytes(request: Request, port: int) -> bytes:
    body = request.body.encode()
    lines = [
        f"{request.method} {request.path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {request.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def json_body(**fields: object) -> str:
    return json.dumps({"model_name": "kling-v3-omni", "prompt": "a red fox in the forest, at dawn", "n": 1} | fields)
