"""Measure memory and time of requests with ten images of 10 MB, compared with a plain FastAPI body.

Both servers are real processes with uvicorn on loopback, and the requests alternate between them. Growth is the maximum
resident memory during the request (VmHWM) minus the resident memory before it. Linux only.

    plain   FastAPI with a pydantic model reads and parses the body in memory, and does nothing else
    read    Framehouse reads, decodes, hashes and inspects the images, and refuses the request because of another field
    whole   Framehouse accepts the request: it also stores the images with fsync, and commits the task
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
from measuring.framehouse_processes import BENCH, PATH, process_tree, serving, temporary_folder
from measuring.peers import free_port, running_program

IMAGES = 10


class Image(BaseModel):
    image: str


class Request(BaseModel):
    model_name: str
    prompt: str
    image_list: list[Image] = []
    n: int = 1


def run_plain(port: int) -> None:
    """Run the FastAPI server."""
    app = FastAPI()

    @app.post(PATH)
    async def create(request: Request) -> dict[str, int]:
        return {"images": len(request.image_list)}

    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


def _body(count: int, n: int) -> bytes:
    images = b", ".join(b'{"image": "%s"}' % b64encode(_image()) for _ in range(count))
    return b'{"model_name": "kling-v3-omni", "prompt": "x", "n": %d, "image_list": [%s]}' % (n, images)


def _image() -> bytes:
    """Return 10 MB that begin with a small valid PNG; the rest is random. The API reads only the header of an image."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (400, 300)).save(buffer, "PNG")
    return buffer.getvalue() + secrets.token_bytes(10_000_000 - len(buffer.getvalue()))


@dataclass(frozen=True, slots=True)
class Server:
    """A measured server. `pid` is the process that reads the bodies."""

    port: int
    pid: int
    key: str = ""

    def measure_request(self, content: bytes, expected_status: int) -> tuple[float, float]:
        """Send a request. Returns its time in seconds and the growth of the process in MB."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # sets VmHWM to the present memory
        before = self._memory("VmRSS")
        began = time.perf_counter()
        status, text = self._post(content)
        seconds = time.perf_counter() - began
        assert status == expected_status, text[:500]
        return seconds, self._memory("VmHWM") - before

    def _post(self, content: bytes) -> tuple[int, bytes]:
        """Send a request with http.client: other clients copy a large body many times, which would distort the time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        connection.request("POST", PATH, content, headers)
        answer = connection.getresponse()
        status, text = answer.status, answer.read()
        connection.close()
        return status, text

    def _memory(self, field: str) -> float:
        """Return VmRSS or VmHWM in MB."""
        kilobytes = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert kilobytes
        return int(kilobytes[1]) / 1000


def measure(rounds: int) -> list[Figure]:
    port = free_port()
    plain_command = [sys.executable, BENCH / "bodies.py", "--plain", port]
    with (
        temporary_folder() as folder,
        running_program(
            plain_command, port=port, log=folder / "plain.log", env={"PYTHONPATH": str(BENCH)}
        ) as plain_pid,
        serving(folder / "data", "") as (api, key),
    ):
        plain = Server(port, plain_pid)
        api_pid = next(pid for pid, command in process_tree(api.pid).items() if " api " in command)
        ours = Server(api.port, api_pid, key)
        for server in (plain, ours):  # the first request loads modules, which is not part of the measurement
            server.measure_request(_body(0, 1), 200)
        ours.measure_request(_body(1, 99), 400)
        seconds: list[dict[str, float]] = []
        growth: list[dict[str, float]] = []
        for _ in range(rounds):
            good, bad = _body(IMAGES, 1), _body(IMAGES, 99)
            results = {
                "plain": plain.measure_request(good, 200),
                "read": ours.measure_request(bad, 400),
                "whole": ours.measure_request(good, 200),
            }
            seconds.append({name: result_s for name, (result_s, _) in results.items()})
            growth.append({name: growth_mb for name, (_, growth_mb) in results.items()})
            printed = (f"{name} {s * 1000:.0f} ms {mb:+.1f} MB" for name, (s, mb) in results.items())
            print("   ", ", ".join(printed), flush=True)
    times = {name: f"{median(seconds, name) * 1000:.0f} ms" for name in seconds[0]}
    return [
        Figure(
            "ten references of 10 MB, read, decoded and inspected: time",
            "plain FastAPI body",
            ratio(seconds, "read", "plain"),
            0.6,
            True,
            "×",
            times["read"],
            times["plain"],
            f"also stored and flushed to the disk: {times['whole']}",
            rounds=seconds,
        ),
        Figure(
            "ten references of 10 MB, also stored: memory growth of the API process",
            "plain FastAPI body",
            max(values["whole"] for values in growth),
            16,
            True,
            "MB",
            "maximum of all rounds",
            f"{median(growth, 'plain'):.0f} MB",
            rounds=growth,
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", type=int, required=True)
    run_plain(parser.parse_args().plain)
