"""Memory and time for requests with ten pictures of 10 MB: this server against a plain FastAPI body.

Both are real processes behind uvicorn on loopback, asked in turn. Growth is the highest resident memory during the
request over that before it (VmHWM, so Linux only).

    plain   FastAPI with a pydantic model: the body in memory, parsed, and nothing else done
    read    ours, up to the refusal of another field: read, decoded, hashed, inspected, not stored
    whole   ours, accepted: also stored with fsync, and the task committed
"""

import argparse
import http.client
import io
import re
import secrets
import sys
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from PIL import Image as Pillow
from pydantic import BaseModel

from measuring.comparisons import Figure, median, ratio
from measuring.framehouse_processes import BENCH, PATH, folder, processes, serving
from measuring.peers import free_port, program

IMAGES = 10


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


def _body(count: int, n: int) -> bytes:
    images = b", ".join(b'{"image": "%s"}' % b64encode(_image()) for _ in range(count))
    return b'{"model_name": "kling-v3-omni", "prompt": "x", "n": %d, "image_list": [%s]}' % (n, images)


def _image() -> bytes:
    """A valid header, and as much that cannot be packed as is allowed: what is measured does not decode pixels."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (400, 300)).save(buffer, "PNG")
    return buffer.getvalue() + secrets.token_bytes(10_000_000 - len(buffer.getvalue()))


@dataclass(frozen=True, slots=True)
class Server:
    """One to ask. `pid` is the process that reads bodies."""

    port: int
    pid: int
    key: str = ""

    def ask(self, content: bytes, status: int) -> tuple[float, float]:
        """Seconds, and growth in MB."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # the highest memory so far is the present one
        before = self._memory("VmRSS")
        began = time.perf_counter()
        answered, text = self._post(content)
        seconds = time.perf_counter() - began
        assert answered == status, text[:500]
        return seconds, self._memory("VmHWM") - before

    def _post(self, content: bytes) -> tuple[int, bytes]:
        """By the plainest client there is: others copy a large body many times and become what is measured."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        connection.request("POST", PATH, content, headers)
        answer = connection.getresponse()
        told = answer.status, answer.read()
        connection.close()
        return told

    def _memory(self, what: str) -> float:
        """VmRSS or VmHWM in MB."""
        found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) / 1000


def measure(rounds: int) -> list[Figure]:
    port = free_port()
    plain_command = [sys.executable, BENCH / "bodies.py", "--plain", port]
    with (
        folder() as place,
        program(plain_command, port=port, log=place / "plain.log", env={"PYTHONPATH": str(BENCH)}) as plain_pid,
        serving(place / "data", "") as (api, key),
    ):
        plain = Server(port, plain_pid)
        deployment = Server(
            api.port, next(pid for pid, command in processes(api.pid).items() if " api " in command), key
        )
        for server in (plain, deployment):  # what is loaded with the first request is not the body's
            server.ask(_body(0, 1), 200)
        deployment.ask(_body(1, 99), 400)
        seconds: list[dict[str, float]] = []
        growth: list[dict[str, float]] = []
        for _ in range(rounds):
            good, bad = _body(IMAGES, 1), _body(IMAGES, 99)
            found = {
                "plain": plain.ask(good, 200),
                "read": deployment.ask(bad, 400),
                "whole": deployment.ask(good, 200),
            }
            seconds.append({name: took for name, (took, _) in found.items()})
            growth.append({name: grown for name, (_, grown) in found.items()})
            told = (f"{name} {took * 1000:.0f} ms {grown:+.1f} MB" for name, (took, grown) in found.items())
            print("   ", ", ".join(told), flush=True)
    times = {name: f"{median(seconds, name) * 1000:.0f} ms" for name in seconds[0]}
    return [
        Figure(
            "ten references of 10 MB, read, decoded and looked at: time",
            "plain FastAPI body",
            ratio(seconds, "read", "plain"),
            0.6,
            True,
            "×",
            times["read"],
            times["plain"],
            f"with storing them, flushed to the disk: {times['whole']}",
            rounds=seconds,
        ),
        Figure(
            "ten references of 10 MB, stored too: growth of the API process",
            "plain FastAPI body",
            max(one["whole"] for one in growth),
            16,
            True,
            "MB",
            "the most of all rounds",
            f"{median(growth, 'plain'):.0f} MB",
            rounds=growth,
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", type=int, required=True)
    run_plain(parser.parse_args().plain)
