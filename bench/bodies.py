"""Memory and time for requests with 1, 5 and 10 pictures of 10 MB: this server against a plain FastAPI body, same run.

`make bench NAME=bodies`. Both are real processes behind uvicorn on loopback, asked in turn; medians of the rounds.
Growth is the highest resident memory during the request over that before it (VmHWM, so Linux only).

    plain   FastAPI with a pydantic model: the body in memory, parsed, and nothing else done
    read    ours, up to the refusal of another field: read, decoded, hashed, inspected, not stored
    whole   ours, accepted: also stored with fsync, and the task committed
"""

import argparse
import http.client
import os
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

PATH = "/kling/v1/images/omni-image"
COUNTS = (1, 5, 10)


class Image(BaseModel):
    image: str


class Request(BaseModel):
    model_name: str
    prompt: str
    image_list: list[Image] = []
    n: int = 1


def run_plain(port: int) -> None:
    """The server to compare with."""
    app = FastAPI()

    @app.post(PATH)
    async def create(request: Request) -> dict[str, int]:
        return {"pictures": len(request.image_list)}

    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


def picture() -> bytes:
    """A valid header, and as much that cannot be packed as is allowed: what is measured does not decode pixels."""
    from io import BytesIO

    from PIL import Image as Pillow

    buffer = BytesIO()
    Pillow.new("RGB", (400, 300)).save(buffer, "PNG")
    return buffer.getvalue() + secrets.token_bytes(10_000_000 - len(buffer.getvalue()))


def body(count: int, n: int) -> bytes:
    images = b", ".join(b'{"image": "%s"}' % b64encode(picture()) for _ in range(count))
    return b'{"model_name": "kling-v3-omni", "prompt": "x", "n": %d, "image_list": [%s]}' % (n, images)


def memory(pid: int, what: str) -> float:
    """VmRSS or VmHWM in MB."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1000


@dataclass(frozen=True)
class Server:
    """One to ask. `pid` is the process that reads bodies."""

    port: int
    pid: int
    key: str = ""

    def post(self, content: bytes) -> tuple[int, bytes]:
        """By the plainest client there is: others copy a large body many times and become what is measured."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        connection.request("POST", PATH, content, headers)
        answer = connection.getresponse()
        told = answer.status, answer.read()
        connection.close()
        return told


def ask(server: Server, content: bytes, status: int) -> tuple[float, float]:
    """Seconds, and growth in MB."""
    pid = server.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest memory so far is the present one
    before = memory(pid, "VmRSS")
    began = time.perf_counter()
    answered, text = server.post(content)
    seconds = time.perf_counter() - began
    assert answered == status, text[:500]
    return seconds, memory(pid, "VmHWM") - before


@contextmanager
def plain() -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--plain", str(port)])
    try:
        server = Server(port, process.pid)
        while True:
            try:
                server.post(b"{}")
                break
            except ConnectionError:
                time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait()


@contextmanager
def ours(folder: Path) -> Iterator[Server]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEHOUSE_")}
    command = [sys.executable, "-m", "framehouse", "serve", "--port", "0", "--data-dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            out = ""
            assert process.stdout
            for line in process.stdout:
                out += line
                if "is ready at" in line:
                    break
            url, key = re.search(r"is ready at (\S+)", out), re.search(r"^\s+(fh_\S+)$", out, re.MULTILINE)
            while not key:
                out += process.stdout.readline()
                key = re.search(r"^\s+(fh_\S+)$", out, re.MULTILINE)
            assert url
            listed = subprocess.run(
                ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
            ).stdout
            api = re.search(r"^\s*(\d+) .*\bapi\b", listed, re.MULTILINE)
            assert api, listed
            yield Server(int(url[1].rpartition(":")[2]), int(api[1]), key[1])
        finally:
            process.terminate()


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, plain() as other, ours(Path(folder) / "data") as house:
        small = body(0, 1)
        for server in (other, house):  # what is loaded with the first request is not the body's
            ask(server, small, 200)
        ask(house, body(1, 99), 400)
        print(f"{'pictures':>8} {'':6} {'time':>9} {'ratio':>6} {'growth':>9}")
        for count in COUNTS:
            found: dict[str, list[tuple[float, float]]] = {"plain": [], "read": [], "whole": []}
            for _ in range(rounds):
                good, bad = body(count, 1), body(count, 99)
                found["plain"].append(ask(other, good, 200))
                found["read"].append(ask(house, bad, 400))
                found["whole"].append(ask(house, good, 200))
            base = statistics.median(seconds for seconds, _ in found["plain"])
            for name, measured in found.items():
                seconds = statistics.median(seconds for seconds, _ in measured)
                growth = max(growth for _, growth in measured)
                print(
                    f"{count:>8} {name:6} {seconds * 1000:6.0f} ms {seconds / base:6.2f} {growth:+6.1f} MB", flush=True
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    run_plain(given.plain) if given.plain else main(given.rounds)
