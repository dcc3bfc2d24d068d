"""Load from outside: wrk as fast as it goes, pgbench likewise, and requests at a steady rate, with their times."""

import asyncio
import gc
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

from measuring.framehouse_processes import postgres_program

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


def steadily(
    port: int, requests: Sequence[Request], *, rate: float, seconds: float, connections: int = 64
) -> list[float]:
    """Seconds that each answer took, from when its request was due, whatever came before it."""
    raw = [_bytes(request, port) for request in requests]

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        took: list[float] = []
        made = [
            await loop.create_connection(lambda: _Client(free, took), "127.0.0.1", port) for _ in range(connections)
        ]
        free.extend(client for _, client in made)
        began, number = time.perf_counter(), 0
        while number < int(rate * seconds) or len(free) < connections:
            due = min((time.perf_counter() - began) * rate, int(rate * seconds))
            while number < due and free:
                free.popleft().send(raw[number % len(raw)], began + number / rate)
                number += 1
            await asyncio.sleep(0.001)
        for transport, _ in made:
            transport.close()
        return took

    free: deque[_Client] = deque()  # in turn, so that no connection is idle for so long that it is closed
    gc.disable()
    try:
        return uvloop.run(run())
    finally:
        gc.enable()


class _Client(asyncio.Protocol):
    """One connection with one request at a time, as cheap as can be: it shares the machine with what it measures."""

    def __init__(self, free: "deque[_Client]", took: list[float]) -> None:
        self._free, self._took = free, took
        self._got = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if found and (length := re.search(rb"content-length: (\d+)", head)) and len(body) == int(length[1]):
            assert head.startswith(b"HTTP/1.1 200"), head
            self._took.append(time.perf_counter() - self._due)
            self._got = b""
            self._free.append(self)


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
