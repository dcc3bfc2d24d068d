"""The queue of shots and the threads of the devices.

The thread of a device generates shots. If the child process of the device fails, the thread requeues the shots and
later starts a new child process.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from framehouse.domain.errors import Broken, Failed, Unavailable
from framehouse.domain.sizes import Size
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers.calls import QueuedShot, Recipient, next_call
from framehouse.engines.diffusers.child import EXITED, WAKE, ChildProcess, Inbox
from framehouse.engines.interface import GeneratedImage, Progress

log = logging.getLogger(__name__)
_MAX_CRASHES = 2
_MAX_FAULTS = 3
_CLOSED = "the engine is closed"


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The settings that all devices of an engine share.

    `command`: the command that starts a child process.
    `load_settings`: a function that returns the fields of the load command (see `wire`), or raises Unavailable if the
        weights are missing.
    `max_batch`: the largest number of images per call.
    `multiple_prompts`: true if one call accepts several prompts.
    `start_limit_s`: the time limit for loading the model.
    `hang_limit_s`: the longest allowed time between two messages from a child process during a call.
    """

    command: Sequence[str]
    load_settings: Callable[[], dict[str, Any]]
    max_batch: int
    multiple_prompts: bool
    start_limit_s: float
    hang_limit_s: float


class ShotQueue:
    """The waiting shots, oldest first, and the devices that generate them. Thread-safe."""

    def __init__(self, settings: DeviceSettings) -> None:
        self.settings = settings
        self.closing = False
        self._waiting: list[QueuedShot] = []
        self._changed = threading.Condition()
        self._devices: list[Device] = []

    @property
    def devices(self) -> "tuple[Device, ...]":
        return tuple(self._devices)

    def start(self, names: Sequence[str]) -> None:
        """Start the threads of these devices. Later calls have no effect."""
        with self._changed:
            if self._devices or self.closing:
                return
            self._devices = [Device(name, self) for name in names]
        for device in self._devices:
            device.start()

    def put(self, shots: Sequence[QueuedShot]) -> None:
        """Append shots to the queue. Raises Unavailable if no device is available, or if the queue is closed."""
        with self._changed:
            if self.closing:
                raise Unavailable(_CLOSED)
            if self._devices and all(device.unavailable_reason for device in self._devices):
                raise Unavailable(self._devices[0].unavailable_reason)
            self._waiting += shots
            self._changed.notify_all()

    def requeue(self, shots: Sequence[QueuedShot]) -> None:
        """Insert shots at the front of the queue. The shots of cancelled recipients are discarded.

        If the queue is closing, Unavailable is delivered to the recipients of these shots instead.
        """
        with self._changed:
            if not self.closing:
                self._waiting[:0] = [shot for shot in shots if not shot.recipient.cancelled]
                self._changed.notify_all()
                return
        for shot in shots:
            shot.recipient.deliver(Unavailable(_CLOSED))

    def cancel(self, recipient: Recipient) -> None:
        """Remove the recipient's shots from the queue. A running call stops if all of its recipients are cancelled."""
        recipient.cancelled = True
        with self._changed:
            self._waiting = [shot for shot in self._waiting if shot.recipient is not recipient]
        for device in self._devices:
            device.wake()

    def take(self, device: "Device") -> list[QueuedShot]:
        """Wait until there are shots and the device's cooldown has ended. Return the shots of the device's next call.

        Returns an empty list when the queue closes.
        """
        with self._changed:
            while not self.closing:
                cooldown_s = device.cooldown.remaining_s
                if cooldown_s == 0 and self._waiting:
                    key = self._waiting[0].memory_key
                    limit = min(self.settings.max_batch, device.max_images.get(key, self.settings.max_batch))
                    taken = next_call(self._waiting, limit=limit, multiple_prompts=self.settings.multiple_prompts)
                    self._waiting = [shot for shot in self._waiting if shot not in taken]
                    return taken
                self._changed.wait(cooldown_s or None)
            return []

    def device_failed(self, shots: Sequence[QueuedShot]) -> None:
        """Requeue the shots of a device that has become unavailable.

        If all devices are unavailable, Unavailable is delivered to the recipients of these shots and of all waiting
        shots instead.
        """
        with self._changed:
            reasons = [device.unavailable_reason for device in self._devices]
            if all(reasons):
                shots, self._waiting = [*shots, *self._waiting], []
        if not all(reasons):
            self.requeue(shots)
            return
        for shot in shots:
            shot.recipient.deliver(Unavailable(reasons[0]))

    def close(self) -> None:
        """Stop all devices and wait for their threads. Blocks the calling thread.

        Unavailable is delivered to the recipients of waiting shots.
        """
        with self._changed:
            self.closing = True
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for device in self._devices:
            device.wake()
        for device in self._devices:
            device.join()
        for shot in left:
            shot.recipient.deliver(Unavailable(_CLOSED))


class _DeviceUnavailable(Exception):
    """Raised when a device cannot load the model in a child process, or fails repeatedly. The device then starts a
    cooldown."""


class Device(threading.Thread):
    """The thread of a device. It starts a child process for the first call, and a new child process after a crash.

    `max_images` maps a memory key (`QueuedShot.memory_key`) to the largest number of images per call. A memory key is
    added when a call for several images runs out of memory. `description` is the content of the `loaded` event from the
    child process.
    """

    def __init__(self, name: str, shots: ShotQueue) -> None:
        super().__init__(name=f"diffusers {name}", daemon=True)
        self.device = name
        self.cooldown = Cooldown()
        self.max_images: dict[tuple[Size, int, bool], int] = {}
        self.description: dict[str, Any] = {}
        self.load_error = ""
        """The reason why the latest attempt to load the model failed, or why the device has failed repeatedly. Empty if
        the model was loaded since then, or if there has been no attempt yet."""
        self._queue = shots
        self._inbox: Inbox = queue.SimpleQueue()
        self._child: ChildProcess | None = None
        self._calls = 0
        self._busy = False
        self._faults = 0
        """The number of device faults since the last successful call."""

    @property
    def unavailable_reason(self) -> str:
        """The reason why the device is unavailable. Empty if the device is available or its cooldown has ended."""
        return self.load_error if self.cooldown.remaining_s > 0 else ""

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child else None

    def wake(self) -> None:
        """Cause a running call to check whether its recipients are cancelled and whether the queue is closing."""
        self._inbox.put(({"event": WAKE}, []))

    def run(self) -> None:
        try:
            while shots := self._queue.take(self):
                self._busy = True
                try:
                    self._generate(shots)
                except _DeviceUnavailable as error:
                    self.load_error = str(error)
                    self.cooldown.start(self.load_error)
                    log.warning("%s: %s", self.device, self.load_error)
                    self._queue.device_failed([shot for shot in shots if shot.share < 1])
                except Exception as error:  # after any error, the thread must continue and inform the recipients
                    log.exception("%s: a call failed", self.device)
                    self._fail(shots, Broken(f"internal error ({type(error).__name__})"))
                    if self._child:
                        self._child.kill()
                        self._child = None
                finally:
                    self._busy = False
        finally:
            if self._child:
                self._child.kill()

    def _generate(self, shots: list[QueuedShot]) -> None:
        """Generate the shots in one call. Afterwards, each shot has been delivered, has failed or is queued again.

        Raises _DeviceUnavailable if the model cannot be loaded, or if the device has failed several times in a row. The
        shots that have not been delivered must then be queued again.
        """
        child = self._running_child()
        if self._queue.closing or all(shot.recipient.cancelled for shot in shots):
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
        end = self._relay_events(child, shots)
        left = [shot for shot in shots if shot.share < 1]
        for shot in left:
            shot.share = 0.0
        match end:
            case {"event": "done"}:
                self._faults = 0
                self.cooldown.end()
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
            case {"event": "failed", "reason": reason}:
                self._fail(left, Broken(reason))
            case _:
                self._process_died(left, end["reason"])

    def _running_child(self) -> ChildProcess:
        """Return the current child process, or start a new process and load the model. Raises _DeviceUnavailable."""
        if self._child and self._child.alive:
            return self._child
        if self._child:
            log.warning("the idle process of %s %s; starting a new process", self.device, self._child.kill())
        self._inbox = queue.SimpleQueue()
        try:
            settings = self._queue.settings.load_settings()
        except Unavailable as error:
            raise _DeviceUnavailable(error.message) from error
        child = self._child = ChildProcess(self._queue.settings.command, self.device, self._inbox)
        child.send({"command": "load", "device": self.device.partition(":")[0], **settings})
        message = self._next_message(self._queue.settings.start_limit_s)
        if message["event"] == "loaded":
            self.description, self.load_error = message, ""
            log.info("%s: process %d has loaded %s", self.device, child.pid, settings["model"])
            return child
        self._child = None
        exit_status = child.wait() if message["event"] == EXITED else child.kill()
        if self._queue.closing:
            raise _DeviceUnavailable(_CLOSED)
        if message["event"] == "timeout":
            limit_s = self._queue.settings.start_limit_s
            raise _DeviceUnavailable(f"{settings['model']} was not loaded within {limit_s:.0f} s")
        died = f"while loading {settings['model']}, the process of {self.device} {exit_status}"
        raise _DeviceUnavailable(message.get("reason") or died)

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
