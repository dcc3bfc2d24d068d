"""The queue of shots, which decides what each device does next."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from framehouse.domain.errors import Unavailable
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers.calls import MemoryKey, QueuedShot, Recipient, next_call
from framehouse.engines.diffusers.schedule import CallTimes, images_in, share_s

CLOSED = "the engine is closed"
_DECIDE_AGAIN_S = 0.5
"""While shots wait, a device without work decides again after this time, because other devices may be late."""
_LOOK_AGAIN_S = 30.0
"""A device without work checks after this time whether its process is still alive."""


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
    `preload`: true if each device loads the model immediately. Otherwise, a device loads the model when a shot needs
        it.
    `unload_after_s`: the time after which a device without work unloads the model. 0 means never.
    """

    command: Sequence[str]
    load_settings: Callable[[], dict[str, Any]]
    max_batch: int
    multiple_prompts: bool
    start_limit_s: float
    hang_limit_s: float
    preload: bool = False
    unload_after_s: float = 0.0


class Step(Enum):
    """What a device does next."""

    LOAD = "load the model"
    UNLOAD = "unload the model"
    GENERATE = "generate shots"


class Device(Protocol):
    """The members of a device that the queue uses (see `devices.DeviceThread`).

    `max_images` maps a memory key to the largest number of images per call.
    """

    device: str
    cooldown: Cooldown
    max_images: dict[MemoryKey, int]
    load_error: str
    """The reason why the latest attempt to load the model failed, or why the device has failed repeatedly. Empty if
    the model was loaded since then, or if there has been no attempt yet."""

    peak_bytes: int
    """The largest amount of memory that the current process of the device has used. 0 means unknown."""

    @property
    def pid(self) -> int | None: ...

    @property
    def loaded(self) -> bool:
        """True if the model is loaded and its process is alive."""
        ...

    @property
    def step(self) -> Step | None:
        """What the device does now. None if it waits."""
        ...

    @property
    def idle_s(self) -> float:
        """The time in seconds since the last step ended."""
        ...

    @property
    def preload_in_s(self) -> float:
        """The time in seconds until the device should load the model even if no shot waits. It may be infinite."""
        ...

    @property
    def unavailable_reason(self) -> str:
        """The reason why the device is unavailable. Empty if the device is available or its cooldown has ended."""
        ...

    def ready_s(self, load_s: float) -> float:
        """Return the estimated time in seconds until the device can start a call.

        `load_s` is the estimated time in seconds for loading the model.
        """
        ...

    def begin(self, step: Step, expected_s: float) -> None:
        """Record that a step begins, and how many seconds it will probably take."""
        ...

    def end(self) -> None:
        """Record that the step has ended."""
        ...

    def wake(self) -> None:
        """Cause a running call to check whether its recipients are cancelled and whether the queue is closing."""
        ...

    def start(self) -> None:
        """Start the thread of the device, which asks the queue for its steps."""
        ...

    def join(self) -> None:
        """Wait until the thread of the device has ended."""
        ...


class ShotQueue:
    """The waiting shots, oldest first, and the devices that generate them. Thread-safe."""

    def __init__(self, settings: DeviceSettings) -> None:
        self.settings = settings
        self.closing = False
        self._waiting: list[QueuedShot] = []
        self._changed = threading.Condition()
        self._devices: list[Device] = []
        self._times = CallTimes()

    @property
    def devices(self) -> tuple[Device, ...]:
        return tuple(self._devices)

    def start(self, devices: Sequence[Device]) -> None:
        """Start the threads of these devices. This method must be called only once."""
        with self._changed:
            if self.closing:
                return
            self._devices = list(devices)
        for device in devices:
            device.start()

    def put(self, shots: Sequence[QueuedShot]) -> None:
        """Append shots to the queue. Raises Unavailable if no device is available, or if the queue is closed."""
        with self._changed:
            if self.closing:
                raise Unavailable(CLOSED)
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
            shot.recipient.deliver(Unavailable(CLOSED))

    def cancel(self, recipient: Recipient) -> None:
        """Remove the recipient's shots from the queue. A running call stops if all of its recipients are cancelled."""
        recipient.cancelled = True
        with self._changed:
            self._waiting = [shot for shot in self._waiting if shot.recipient is not recipient]
        for device in self._devices:
            device.wake()

    def next_step(self, device: Device) -> tuple[Step, list[QueuedShot]] | None:
        """Wait until the device has something to do. Returns the step, and the shots of the device's next call.

        Returns None when the queue closes.
        """
        with self._changed:
            device.end()
            self._changed.notify_all()
            while not self.closing:
                if step := self._decide(device):
                    return step
                self._changed.wait(self._wait_s(device))
            return None

    def _decide(self, device: Device) -> tuple[Step, list[QueuedShot]] | None:
        if device.cooldown.remaining_s > 0:
            return None
        if not device.loaded:
            if device.preload_in_s > 0 and not self._share_s(device):
                return None
            device.begin(Step.LOAD, self._times.load_s)
            return Step.LOAD, []
        if self._waiting:
            key = self._waiting[0].memory_key
            limit = min(
                self.settings.max_batch,
                device.max_images.get(key, self.settings.max_batch),
                images_in(self._share_s(device), self._times.shot_s(key)),
            )
            shots = next_call(self._waiting, limit=limit, multiple_prompts=self.settings.multiple_prompts)
            self._waiting = [shot for shot in self._waiting if shot not in shots]
            device.begin(Step.GENERATE, self._times.shot_s(key) * len(shots))
            return Step.GENERATE, shots
        if 0 < self.settings.unload_after_s <= device.idle_s:
            device.begin(Step.UNLOAD, 0.0)
            return Step.UNLOAD, []
        return None

    def _share_s(self, device: Device) -> float:
        """Return for how many seconds this device should work on the waiting shots."""
        ready_s = [other.ready_s(self._times.load_s) for other in self._devices]
        shot_s = [self._times.shot_s(shot.memory_key) for shot in self._waiting]
        return share_s(self._devices.index(device), ready_s, shot_s)

    def _wait_s(self, device: Device) -> float:
        """Return the time in seconds after which a device that has nothing to do must decide again."""
        if cooldown_s := device.cooldown.remaining_s:
            return cooldown_s
        if self._waiting:
            return _DECIDE_AGAIN_S
        if not device.loaded:
            return min(device.preload_in_s, _LOOK_AGAIN_S)
        if self.settings.unload_after_s:
            return min(max(0.0, self.settings.unload_after_s - device.idle_s), _LOOK_AGAIN_S)
        return _LOOK_AGAIN_S

    def call_succeeded(self, key: MemoryKey, images: int, seconds: float) -> None:
        """Record how long a call took, for later decisions."""
        with self._changed:
            self._times.add_call(key, images, seconds)

    def load_succeeded(self, seconds: float) -> None:
        """Record how long loading the model took, for later decisions."""
        with self._changed:
            self._times.add_load(seconds)

    def device_failed(self, shots: Sequence[QueuedShot]) -> None:
        """Requeue the shots of a device that has become unavailable.

        If no device has loaded the model since its last failure, Unavailable is delivered to the recipients of these
        shots and of all waiting shots instead.
        """
        with self._changed:
            # not `unavailable_reason`, because a cooldown may end while other devices are still loading
            reasons = [device.load_error for device in self._devices]
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
            shot.recipient.deliver(Unavailable(CLOSED))
