"""A program that replaces the child process of the engine `diffusers`: it sleeps instead of computing.

Usage: `python -m framehouse.testing.stand_in_device LOAD_S IMAGE_S`. Loading the model takes LOAD_S seconds. An image
at 1k resolution takes IMAGE_S seconds, and other sizes take a proportional time. Each image is black and has 2x2
pixels. The facts of an image contain the device and the number of images in its call.

Words in a prompt change a call:

- `[fault]`: the device fails.
- `[die]`: the process is killed.
- `[wait FILE]`: the process creates FILE.started. The call starts when FILE exists.

If the environment variable STAND_IN_BROKEN contains the number of the device, the model cannot be loaded.
"""

import os
import queue
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from framehouse.domain.errors import Failed
from framehouse.engines.diffusers import wire
from framehouse.engines.interface import GeneratedImage, Progress

_PIXELS_1K = 1024 * 1024


class CollectingRecipient:
    """A `calls.Recipient` that keeps what the devices deliver, except progress."""

    def __init__(self) -> None:
        self.cancelled = False
        self._events: queue.SimpleQueue[GeneratedImage | Failed] = queue.SimpleQueue()

    def deliver(self, event: GeneratedImage | Progress | Failed) -> None:
        if not isinstance(event, Progress):
            self._events.put(event)

    def next(self, timeout_s: float = 60.0) -> GeneratedImage:
        """Wait for the next image. Raises Failed if it cannot be generated, and queue.Empty after `timeout_s`."""
        event = self._events.get(timeout=timeout_s)
        if isinstance(event, Failed):
            raise event
        return event


def command(load_s: float, image_s: float) -> list[str]:
    """Return the command that starts this program."""
    return [sys.executable, "-m", "framehouse.testing.stand_in_device", str(load_s), str(image_s)]


def main(load_s: float, image_s: float) -> None:
    """Execute commands until standard input is closed."""
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    cancelled: set[int] = set()

    def read() -> None:
        try:
            while True:
                command, _ = wire.read(sys.stdin.buffer)
                if command["command"] == "cancel":
                    cancelled.add(command["call"])
                else:
                    commands.put(command)
        except (EOFError, OSError, ValueError):
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    commands.get()
    if device in os.environ.get("STAND_IN_BROKEN", "none").split(","):
        _send({"event": "load_failed", "reason": "the driver is too old"})
        return
    time.sleep(load_s)
    _send({"event": "loaded", "name": "stand-in"})
    while True:
        request = commands.get()
        prompts = " ".join(request["prompts"])
        if "[die]" in prompts:
            os.kill(os.getpid(), signal.SIGKILL)
        if match := re.search(r"\[wait (\S+)\]", prompts):
            gate = Path(match[1])
            gate.with_suffix(".started").touch()
            while not gate.exists() and request["call"] not in cancelled:
                time.sleep(0.005)
        if "[fault]" in prompts:
            _send({"event": "device_fault", "reason": "CUDA error: an illegal memory access was encountered"})
            continue
        count = len(request["seeds"])
        time.sleep(image_s * count * request["width"] * request["height"] / _PIXELS_1K)
        if request["call"] in cancelled:
            _send({"event": "cancelled"})
            continue
        for position in range(count):
            facts = {"device": device, "batch": count}
            _send({"event": "image", "position": position, "width": 2, "height": 2, "facts": facts}, bytes(12))
        _send({"event": "done"})


def _send(event: dict[str, Any], *files: bytes) -> None:
    wire.write(sys.stdout.buffer, event, files)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
