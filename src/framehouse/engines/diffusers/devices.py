"""The threads of the devices.

The thread of a device loads the model in a child process and generates shots. If the child process fails, the thread
requeues the shots and later starts a new child process.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from framehouse.domain.errors import Broken, Failed, Unavailable
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers.calls import MemoryKey, QueuedShot
from framehouse.engines.diffusers.child import EXITED, WAKE, ChildProcess, Inbox
from framehouse.engines.diffusers.schedule import remaining_s
from framehouse.engines.diffusers.shot_queue import CLOSED, ShotQueue, Step
from framehouse.engines.interface import GeneratedImage, Progress

log = logging.getLogger(__name__)
_MAX_CRASHES = 2
_MAX_FAULTS = 3
_PRELOAD_AGAIN_S = 300.0
"""After a failed attempt to load the model, the device tries again after this time, even if no shot waits."""


class _DeviceUnavailable(Exception):
    """Raised when a device cannot load the model in a child process, or fails repeatedly. The device then starts a
    cooldown."""


class DeviceThread(threading.Thread):
    """The thread of a device. It loads the model when its queue decides so, and again after a crash.

    `shot_queue.Device` describes the members that the queue uses. A memory key is added to `max_images` when a call for
    several images runs out of memory. `description` is the content of the `loaded` event from the child process.
    """

    def __init__(self, name: str, shots: ShotQueue) -> None:
        super().__init__(name=f"diffusers {name}", daemon=True)
        self.device = name
        self.cooldown = Cooldown()
        self.max_images: dict[MemoryKey, int] = {}
        self.description: dict[str, Any] = {}
        self.load_error = ""
        self.peak_bytes = 0
        self._queue = shots
        self._inbox: Inbox = queue.SimpleQueue()
        self._child: ChildProcess | None = None
        self._calls = 0
        self._faults = 0
        """The number of device faults since the last successful call."""
        self.step: Step | None = None
        self._step_began = time.monotonic()
        self._expected_s = 0.0
        self._preload_at = 0.0 if shots.settings.preload else float("inf")
        """The time from which the device loads the model even if no shot waits, by the monotonic clock."""

    @property
    def unavailable_reason(self) -> str:
        return self.load_error if self.cooldown.remaining_s > 0 else ""

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child else None

    @property
    def loaded(self) -> bool:
        child = self._child
        return child is not None and child.alive and self.step is not Step.LOAD

    @property
    def preload_in_s(self) -> float:
        return max(0.0, self._preload_at - time.monotonic())

    @property
    def idle_s(self) -> float:
        return time.monotonic() - self._step_began

    def ready_s(self, load_s: float) -> float:
        if self.step is None:
            return self.cooldown.remaining_s + (0.0 if self.loaded else load_s)
        return remaining_s(self._expected_s, time.monotonic() - self._step_began)

    def begin(self, step: Step, expected_s: float) -> None:
        self.step, self._step_began, self._expected_s = step, time.monotonic(), expected_s

    def end(self) -> None:
        self.step, self._step_began = None, time.monotonic()

    def wake(self) -> None:
        if self.step is not None:  # a device without a step would never read the message
            self._inbox.put(({"event": WAKE}, []))

    def run(self) -> None:
        try:
            while next_step := self._queue.next_step(self):
                step, shots = next_step
                try:
                    match step:
                        case Step.LOAD:
                            self._load()
                        case Step.UNLOAD:
                            self._unload()
                        case Step.GENERATE:
                            self._generate(shots)
                except _DeviceUnavailable as error:
                    self.load_error = str(error)
                    self.cooldown.start(self.load_error)
                    log.warning("%s: %s", self.device, self.load_error)
                    self._queue.device_failed([shot for shot in shots if shot.share < 1])
                except Exception as error:  # after any error, the thread must continue and inform the recipients
                    log.exception("%s: a step failed", self.device)
                    reason = f"internal error ({type(error).__name__})"
                    self.cooldown.start(reason)
                    self._kill_child()
                    if step is Step.LOAD:
                        self.load_error = reason
                        self._queue.device_failed([])
                    self._fail(shots, Broken(reason))
        finally:
            self._kill_child()

    def _generate(self, shots: list[QueuedShot]) -> None:
        """Generate the shots in one call. Afterwards, each shot has been delivered, has failed or is queued again.

        Raises _DeviceUnavailable if the device has failed several times in a row. The shots that have not been
        delivered must then be queued again.
        """
        child = self._child
        if child is None or self._queue.closing or all(shot.recipient.cancelled for shot in shots):
            self._queue.requeue(shots)
            return
        self._calls += 1
        first = shots[0]
        child.send(
            {
                "command": "generate",
                "call": self._calls,
                "prompts": [shot.prompt for shot in shots],
                "seeds": [shot.seed for shot in shots],
                "width": first.size.width,
                "height": first.size.height,
                "final_sizes": [shot.final_size for shot in shots],
                "negative_prompt": first.negative_prompt,
                "mask": bool(first.mask),
            },
            (*first.files, first.mask) if first.mask else first.files,
        )
        began = time.monotonic()
        end = self._relay_events(child, shots)
        left = [shot for shot in shots if shot.share < 1]
        for shot in left:
            shot.share = 0.0
        match end:
            case {"event": "done"}:
                self._faults = 0
                self.peak_bytes = end.get("peak_bytes", 0)
                self.cooldown.end()
                self._queue.call_succeeded(first.memory_key, len(shots), time.monotonic() - began)
                self._fail(left, Broken("the model returned too few images"))
            case {"event": "cancelled"}:
                self._queue.requeue(left)
            case {"event": "out_of_memory"}:
                self._out_of_memory(left, end["reason"])
            case {"event": "device_fault", "reason": reason}:
                self._child = None
                child.kill()
                self._faults += 1
                if self._faults >= _MAX_FAULTS:
                    raise _DeviceUnavailable(f"{self.device} failed {self._faults} times in a row: {reason}")
                self._process_died(left, f"{self.device} failed: {reason}")
            case {"event": "unsupported", "reason": reason}:
                self._fail(left, Unavailable(reason))
            case {"event": "failed", "reason": reason}:
                self._fail(left, Broken(reason))
            case _:
                self._process_died(left, end["reason"])

    def _load(self) -> None:
        """Start a new child process and load the model. Raises _DeviceUnavailable.

        If the previous child process died while it was idle, the device first starts a cooldown. Without the cooldown,
        a process that always dies, for example because memory is low, would be replaced endlessly.
        """
        if self._child:
            reason = f"the idle process of {self.device} {self._child.kill()}"
            self._child = None
            self.cooldown.start(reason)
            log.warning("%s; the next step starts a new process", reason)
            return
        self._preload_at = time.monotonic() + _PRELOAD_AGAIN_S if self._queue.settings.preload else float("inf")
        self._inbox = queue.SimpleQueue()
        if self._queue.closing:  # the message that the queue is closing may be in the previous inbox
            raise _DeviceUnavailable(CLOSED)
        try:
            settings = self._queue.settings.load_settings()
        except Unavailable as error:
            raise _DeviceUnavailable(error.message) from error
        began = time.monotonic()
        child = self._child = ChildProcess(self._queue.settings.command, self.device, self._inbox)
        child.send({"command": "load", "device": self.device.partition(":")[0], **settings})
        message = self._next_message(self._queue.settings.start_limit_s)
        if message["event"] == "loaded":
            self.description, self.load_error = message, ""
            self._queue.load_succeeded(time.monotonic() - began)
            self._preload_at = 0.0 if self._queue.settings.preload else float("inf")
            log.info("%s: process %d has loaded %s", self.device, child.pid, settings["model"])
            return
        self._child = None
        exit_status = child.wait() if message["event"] == EXITED else child.kill()
        if self._queue.closing:
            raise _DeviceUnavailable(CLOSED)
        if message["event"] == "timeout":
            limit_s = self._queue.settings.start_limit_s
            raise _DeviceUnavailable(f"{settings['model']} was not loaded within {limit_s:.0f} s")
        died = f"while loading {settings['model']}, the process of {self.device} {exit_status}"
        raise _DeviceUnavailable(message.get("reason") or died)

    def _unload(self) -> None:
        """End the child process, which frees the memory of the device. A waiting shot loads the model again."""
        self._kill_child()
        self._preload_at = float("inf")
        log.info("%s: unloaded the model, because no image was requested for a while", self.device)

    def _kill_child(self) -> None:
        if self._child:
            self._child.kill()
            self._child = None

    def _relay_events(self, child: ChildProcess, shots: list[QueuedShot]) -> dict[str, Any]:
        """Deliver the images and the progress of a call until the call ends. Returns the event that ended the call.

        The result is an event from the child process, or a `died` event with a `reason`. If all recipients are
        cancelled, one cancel command is sent to the child process. If the queue closes, a `cancelled` event is returned
        immediately.
        """
        cancelled = False
        while True:
            message = self._next_message(self._queue.settings.hang_limit_s, wakes=not cancelled)
            match message["event"]:
                case "wake":
                    if self._queue.closing:
                        return {"event": "cancelled"}
                    if all(shot.recipient.cancelled for shot in shots):
                        child.send({"command": "cancel", "call": self._calls})
                        cancelled = True
                case "progress":
                    for shot in shots:
                        shot.share = max(shot.share, min(0.99, message["share"]))
                    for recipient in {id(shot.recipient): shot.recipient for shot in shots}.values():
                        recipient.deliver(Progress(message["share"]))
                case "image":
                    shot = shots[message["position"]]
                    shot.share = 1.0
                    pixels = np.frombuffer(message["pixels"], np.uint8).reshape(message["height"], message["width"], 3)
                    shot.recipient.deliver(GeneratedImage(shot.index, pixels, message["facts"]))
                case "exited":
                    self._child = None
                    return {"event": "died", "reason": f"the process of {self.device} {child.wait()}"}
                case "timeout":
                    self._child = None
                    child.kill()
                    limit_s = self._queue.settings.hang_limit_s
                    return {
                        "event": "died",
                        "reason": f"the process of {self.device} made no progress for {limit_s:.0f} s",
                    }
                case _:
                    return message

    def _next_message(self, limit_s: float, *, wakes: bool = False) -> dict[str, Any]:
        """Wait for the next message from the child process, and return it.

        The bytes that arrive with an image are added to the message as `pixels`. If no message arrives within
        `limit_s`, a `timeout` event is returned. A `wake` event is returned only if `wakes` is true or the queue is
        closing.
        """
        end = time.monotonic() + limit_s
        while True:
            try:
                message, files = self._inbox.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return {"event": "timeout"}
            if message["event"] != WAKE or wakes or self._queue.closing:
                return message | ({"pixels": files[0]} if files else {})

    def _out_of_memory(self, shots: list[QueuedShot], reason: str) -> None:
        """Requeue the shots, and halve the number of images per call for their memory key.

        If `shots` contains only one shot, Unavailable is delivered for this shot instead.
        """
        first, count = shots[0], len(shots)
        if count == 1:
            size = f"{first.size.width}x{first.size.height}"
            device = self.description.get("name", self.device)
            too_large = f"an image of {size} does not fit into the memory of {device} ({reason})"
            self._fail(shots, Unavailable(f"{too_large}; decrease max_pixels, or set offload or quantize"))
            return
        self.max_images[first.memory_key] = count // 2
        log.warning(
            "%s: %d images of %dx%d px do not fit into memory in one call: %s", self.device, count, *first.size, reason
        )
        self._queue.requeue(shots)

    def _process_died(self, shots: list[QueuedShot], reason: str) -> None:
        """Requeue the shots and isolate each of them.

        A shot fails if two child processes have died during calls that contained only this shot.
        """
        log.warning("%s; the next call starts a new process", reason)
        self.cooldown.start(reason)
        again = []
        for shot in shots:
            if len(shots) == 1:
                shot.crashes += 1
            shot.isolated = True
            if shot.crashes >= _MAX_CRASHES:
                self._fail([shot], Broken(f"{reason}; this is the second crash during a call with only this image"))
            else:
                again.append(shot)
        self._queue.requeue(again)

    def _fail(self, shots: Sequence[QueuedShot], error: Failed) -> None:
        for shot in shots:
            shot.recipient.deliver(error)
