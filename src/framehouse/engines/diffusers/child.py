"""One spawned process, as seen from outside: how it is started, what it hears and says, how it ends."""

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
_LINE_CHARACTERS = 300
_END_S = 10.0
_PRIVATE = re.compile(r"^FRAMEHOUSE_|SECRET|TOKEN|PASSWORD|CREDENTIAL|API_KEY|ACCESS_KEY|DATABASE_URL", re.IGNORECASE)
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
Inbox = queue.SimpleQueue[tuple[dict[str, Any], list[bytes]]]
ENDED, NUDGE = "ended", "nudge"


class Child:
    """A process that was started and heard nothing yet. What it says comes into `inbox`, at last `ended`."""

    def __init__(self, command: Sequence[str], device: str, inbox: Inbox) -> None:
        self._device = device
        self._inbox = inbox
        self._last = deque[str](maxlen=3)
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment_for(device),
            start_new_session=True,  # a Ctrl-C is for us to answer
        )
        self._threads = [
            threading.Thread(target=target, name=f"{device} {what}", daemon=True)
            for target, what in ((self._listen, "says"), (self._overhear, "logs"))
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
        """Only for one thread. What is sent to a process that died is lost; its inbox says that it did."""
        assert self._process.stdin
        with suppress(OSError, ValueError):
            wire.write(self._process.stdin, message, files)  # type: ignore[arg-type]

    def end(self) -> str:
        """Kill it, if it lives, and say how it ended. When this returns, it says nothing any more."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(_END_S)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                if stream:
                    stream.close()
        return self._told()

    def wait(self) -> str:
        """How it ended, which it does by itself at once; killed if not."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        return self.end()

    def _told(self) -> str:
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return "was killed; perhaps the system had no memory left"
        if code < 0:
            return f"died of {signal.Signals(-code).name}"
        return f"ended with code {code}" + (f": {self._last[-1]}" if self._last else "")

    def _listen(self) -> None:
        assert self._process.stdout
        try:
            while True:
                self._inbox.put(wire.read(self._process.stdout))  # type: ignore[arg-type]
        except (EOFError, OSError, ValueError):
            self._inbox.put(({"event": ENDED, "pid": self.pid}, []))

    def _overhear(self) -> None:
        assert self._process.stderr
        with suppress(OSError, ValueError):
            for line in self._process.stderr:
                text = line.decode(errors="replace").strip()
                if text:
                    self._last.append(text[:_LINE_CHARACTERS])
                    log.info("%s: %s", self._device, text[:_LINE_CHARACTERS])


def default_command() -> list[str]:
    return [sys.executable, "-m", wire.PROGRAM]


def environment_for(device: str) -> dict[str, str]:
    """The environment of a device's process: it sees no other card, no secret of ours, and asks no network.

    Where CUDA_VISIBLE_DEVICES is set for us, `cuda:1` is the second of those.
    """
    environment = {name: value for name, value in os.environ.items() if not _PRIVATE.search(name)} | _QUIET
    environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    kind, _, number = device.partition(":")
    if kind == "cuda":
        given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        environment["CUDA_VISIBLE_DEVICES"] = given[int(number)] if int(number) < len(given) else number
    elif kind == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def probe(command: Sequence[str], limit_s: float) -> dict[str, Any]:
    """What devices this machine has, as a process that loads torch and ends says it: `devices`, each with `id`, `name`,
    `memory_bytes` and `capability`, the best kind only, and `ram_bytes`; or `why` there is no telling. Blocking."""
    inbox: Inbox = queue.SimpleQueue()
    child = Child(command, "probe", inbox)
    child.send({"do": "probe"})
    try:
        message, _ = inbox.get(timeout=limit_s)
        if message["event"] == ENDED:
            return {"why": f"the process that looks for devices {child.wait()}"}
        return message
    except queue.Empty:
        return {"why": f"the process that looks for devices said nothing for {limit_s:.0f} s"}
    finally:
        child.end()
