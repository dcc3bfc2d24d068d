"""Measure how early the engine `diffusers` finishes images on eight devices, compared with the best possible time.

The devices are stand-ins that sleep instead of computing (`framehouse.testing.stand_in_device`). The best possible time
is the total work divided by the number of devices.
"""

import random
import statistics
import time
from collections.abc import Sequence

from framehouse.domain.sizes import Size
from framehouse.engines.diffusers.calls import QueuedShot
from framehouse.engines.diffusers.devices import DeviceThread
from framehouse.engines.diffusers.shot_queue import DeviceSettings, ShotQueue
from framehouse.testing.stand_in_device import CollectingRecipient, command
from measuring.comparisons import Figure, median, ratio

DEVICES, LOAD_S, IMAGE_S = 8, 1.0, 0.25
_SIZES = (Size(1024, 1024),) * 3 + (Size(2048, 2048),)
_TASKS, _LONE_TASKS = 40, 12


def measure(rounds: int) -> list[Figure]:
    shots = ShotQueue(
        DeviceSettings(
            command=command(LOAD_S, IMAGE_S),
            load_settings=lambda: {"model": "stand-in"},
            max_batch=4,
            multiple_prompts=True,
            start_limit_s=60,
            hang_limit_s=60,
            preload=True,
        )
    )
    shots.start([DeviceThread(f"cuda:{number}", shots) for number in range(DEVICES)])
    try:
        while not all(device.loaded for device in shots.devices):
            time.sleep(0.05)
        chance = random.Random(1)
        values = []
        for _ in range(rounds):
            tasks = [(chance.choice(_SIZES), chance.randint(1, 9)) for _ in range(_TASKS)]
            values.append(
                {
                    "mixed": _run(shots, tasks),
                    "best": sum(_seconds(size) * count for size, count in tasks) / DEVICES,
                    "nine": _run(shots, [(_SIZES[0], 9)]),
                    "two calls": 2 * IMAGE_S,
                    "alone": statistics.median(_run(shots, [(_SIZES[0], 1)]) for _ in range(_LONE_TASKS)),
                    "one call": IMAGE_S,
                }
            )
            print("   ", ", ".join(f"{name} {value:.3f}" for name, value in values[-1].items()), flush=True)
    finally:
        shots.close()
    return [
        _figure(values, f"time for {_TASKS} tasks of mixed sizes on eight devices", "mixed", "best", 1.15),
        _figure(values, "time for a task of nine images on eight devices", "nine", "two calls", 1.15),
        _figure(values, "time for a task alone, p50", "alone", "one call", 1.15),
    ]


def _run(shots: ShotQueue, tasks: Sequence[tuple[Size, int]]) -> float:
    """Submit the tasks at the same time. Returns the time in seconds until all images are finished."""
    began = time.perf_counter()
    recipients = [(CollectingRecipient(), count) for _, count in tasks]
    for (recipient, count), (size, _) in zip(recipients, tasks, strict=True):
        shots.put([QueuedShot(recipient, index, "a fox", index, size, size) for index in range(count)])
    for recipient, count in recipients:
        for _ in range(count):
            recipient.next()
    return time.perf_counter() - began


def _seconds(size: Size) -> float:
    return IMAGE_S * size.width * size.height / 1024**2


def _figure(values: Sequence[dict[str, float]], name: str, ours: str, best: str, target: float) -> Figure:
    return Figure(
        name,
        "the best possible time",
        ratio(values, ours, best),
        target,
        True,
        "×",
        f"{median(values, ours):.2f} s",
        f"{median(values, best):.2f} s",
        rounds=values,
    )
