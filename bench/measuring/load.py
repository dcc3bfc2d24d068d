"""Load generators: wrk and pgbench at their maximum rate, and HTTP requests at a constant rate."""

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


def find_program(program: str) -> str:
    """Return the path of a program. Exits with a message if the program is not installed."""
    path = shutil.which(program)
    if not path:
        raise SystemExit(f"make bench needs {program}; install it (Debian: apt install {program}, macOS: brew).")
    return path


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
    """A request for a load generator. `body` must not contain line breaks."""

    method: str
    path: str
    key: str = "none"
    body: str = ""


def wrk(url: str, requests: Sequence[Request], *, seconds: float) -> float:
    """Send the requests in rotation. Returns the requests per second; exits if any request fails."""
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "requests", Path(folder) / "requests.lua"
        lines.write_text("".join(f"{r.method} {r.path} {r.key} {r.body}\n" for r in requests))
        script.write_text(_LUA % lines)
        command = [find_program("wrk"), "-t1", f"-c{CLIENTS}", f"-d{seconds:g}", "-s", str(script), url]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"Some requests failed:\n{output}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate, output
    return float(rate[1])


def pgbench(database: str, script: str, *, seconds: int) -> float:
    """Run a script repeatedly. Returns the runs per second."""
    parts = urlsplit(database)
    variables = {
        "PGHOST": parse_qs(parts.query)["host"][0],
        "PGUSER": parts.username or "",
        "PGDATABASE": parts.path[1:],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [postgres_program("pgbench"), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2"]
        run = subprocess.run(
            [*command, "-T", str(seconds), "-f", file.name],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | variables,
        )
    rate = re.search(r"tps = ([\d.]+)", run.stdout)
    if not rate or "aborted" in run.stderr:
        raise SystemExit(f"pgbench: {run.stderr[-2000:]}")
    return float(rate[1])


def times_at_rate(
    port: int, requests: Sequence[Request], *, rate: float, seconds: float, connections: int = 64
) -> list[float]:
    """Send `rate` requests per second, in rotation. Returns the time of each answer in seconds.

    The time starts when the request was due, even if the request was sent later because all connections were busy.
    """
    raw = [_bytes(request, port) for request in requests]

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        opened = [
            await loop.create_connection(lambda: _Client(free, times), "127.0.0.1", port) for _ in range(connections)
        ]
        free.extend(client for _, client in opened)
        began, number = time.perf_counter(), 0
        while number < int(rate * seconds) or len(free) < connections:
            due = min((time.perf_counter() - began) * rate, int(rate * seconds))
            while number < due and free:
                free.popleft().send(raw[number % len(raw)], began + number / rate)
                number += 1
            await asyncio.sleep(0.001)
        for transport, _ in opened:
            transport.close()
        return times

    free: deque[_Client] = deque()  # the connection that was idle longest is next, so that the server closes none
    gc.disable()
    try:
        return uvloop.run(run())
    finally:
        gc.enable()


class _Client(asyncio.Protocol):
    """One connection that sends one request at a time.

    It does as little work as possible, because it runs on the same machine as the measured server.
    """

    def __init__(self, free: "deque[_Client]", times: list[float]) -> None:
        self._free, self._times = free, times
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if separator and (length := re.search(rb"content-length: (\d+)", head)) and len(body) == int(length[1]):
            assert head.startswith(b"HTTP/1.1 200"), head
            self._times.append(time.perf_counter() - self._due)
            self._received = b""
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
