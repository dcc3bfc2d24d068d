"""Start the child process of a device, exchange messages with this process, and report how it exited."""

import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from framehouse.engines.diffusers import wire

log = logging.getLogger(__name__)
_MAX_LINE_CHARACTERS = 300
_EXIT_LIMIT_S = 10.0
_SECRETS = re.compile(r"^FRAMEHOUSE_|SECRET|TOKEN|PASSWORD|CREDENTIAL|API_KEY|ACCESS_KEY|DATABASE_URL", re.IGNORECASE)
_FIXED_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
Inbox = queue.SimpleQueue[tuple[dict[str, Any], list[bytes]]]
EXITED, WAKE = "exited", "wake"
"""Events that the engine itself adds to the inbox of a ChildProcess.

EXITED means that the child process has exited. After WAKE, the thread that reads the inbox must check whether the
`ShotQueue` (devices.py) is closing, and whether the recipients (`calls.Recipient`) of the running call are cancelled.
"""


class ChildProcess:
    """A child process. The code that creates this object must send the first command.

    Messages from the process are added to `inbox`. The last message is EXITED.
    """

    def __init__(self, command: Sequence[str], device: str, inbox: Inbox) -> None:
        self._device = device
        self._inbox = inbox
        self._last_lines = deque[str](maxlen=3)
        self._process = subprocess.Popen(  # noqa: S603 - the command is our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_for(device),
            start_new_session=True,  # Ctrl-C must reach only the engine's process, which then stops the child process
        )
        self._threads = [
            threading.Thread(target=target, name=f"{device} {stream}", daemon=True)
            for target, stream in ((self._read_messages, "messages"), (self._read_log, "log"))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: dict[str, Any], files: Sequence[bytes] = ()) -> None:
        """Send a message to the process. This method is not thread-safe.

        If the process has exited, the message is discarded without an error.
        """
        assert self._process.stdin
        with suppress(OSError, ValueError):
            wire.write(self._process.stdin, message, files)  # type: ignore[arg-type]

    def kill(self) -> str:
        """Kill the process if it is alive. Returns how the process exited, for example "exited with code 1".

        This method waits up to 10 s for each thread that reads the output of the process, so that no message is added
        to the inbox after the method has returned.
        """
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(_EXIT_LIMIT_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                if stream:
                    stream.close()
        return self._describe_exit()

    def wait(self) -> str:
        """Wait up to 10 s for the process to exit, then kill it if it is alive. Returns how the process exited."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_LIMIT_S)
        return self.kill()

    def _describe_exit(self) -> str:
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return "was killed, possibly because the system ran out of memory"
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        return f"exited with code {code}" + (f": {self._last_lines[-1]}" if self._last_lines else "")

    def _read_messages(self) -> None:
        assert self._process.stdout
        try:
            while True:
                self._inbox.put(wire.read(self._process.stdout))  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError):
            self._inbox.put(({"event": EXITED, "pid": self.pid}, []))

    def _read_log(self) -> None:
        assert self._process.stderr
        with suppress(OSError, ValueError):
            for line in self._process.stderr:
                text = line.decode(errors="replace").strip()
                if text:
                    self._last_lines.append(text[:_MAX_LINE_CHARACTERS])
                    log.info("%s: %s", self._device, text[:_MAX_LINE_CHARACTERS])


def default_command() -> list[str]:
    return [sys.executable, "-m", wire.PROGRAM]


def environment_for(device: str) -> dict[str, str]:
    """Return the environment variables for a device's process.

    These variables disable downloads and contain no secrets. For a `cuda` device, these variables also hide all other
    GPUs. For `cpu`, they hide all GPUs. If CUDA_VISIBLE_DEVICES is set for the engine's process, `cuda:1` is the second
    GPU in CUDA_VISIBLE_DEVICES.
    """
    environment = {name: value for name, value in os.environ.items() if not _SECRETS.search(name)}
    environment |= _FIXED_ENVIRONMENT
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    kind, _, number = device.partition(":")
    if kind == "cuda":
        visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        environment["CUDA_VISIBLE_DEVICES"] = visible[int(number)] if int(number) < len(visible) else number
    elif kind == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def probe(command: Sequence[str], limit_s: float) -> dict[str, Any]:
    """List the devices of this machine. Runs a process that imports torch, and blocks the calling thread.

    The result contains `ram_bytes` (the memory of the machine) and `devices`. Each device has an `id`, a `name`,
    `memory_bytes` and a `capability` (the CUDA compute capability, or an empty string for other devices). An NVIDIA GPU
    also has `free_bytes`, the memory that no process uses. Only the best
    available kind of device is listed: NVIDIA GPUs, or else Apple's GPU, or else the CPU. If the devices cannot be
    listed, the result contains only `reason`.
    """
    inbox: Inbox = queue.SimpleQueue()
    child = ChildProcess(command, "probe", inbox)
    child.send({"command": "probe"})
    try:
        message, _ = inbox.get(timeout=limit_s)
        if message["event"] == EXITED:
            return {"reason": f"the process that lists the devices {child.wait()}"}
        return message
    except queue.Empty:
        return {"reason": f"the process that lists the devices did not respond within {limit_s:.0f} s"}
    finally:
        child.kill()
