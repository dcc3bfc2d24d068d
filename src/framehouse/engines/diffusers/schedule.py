"""Decide which device generates which waiting shots, and which device loads the model."""

import heapq
from collections.abc import Sequence

from framehouse.engines.diffusers.calls import MemoryKey

_UNKNOWN_CALL_S = 1.0
_UNKNOWN_LOAD_S = 30.0
_ROUNDING = 1e-6
_WEIGHT = 0.5
"""The weight of the newest measurement in an average. The average follows a change of speed after a few calls."""


def share_s(device: int, ready_s: Sequence[float], shot_s: Sequence[float]) -> float:
    """Return for how many seconds a device should work on the waiting shots, so that all shots are finished early.

    `ready_s` contains, for each device, the number of seconds until it can start a call. For a device that has not
    loaded the model, this includes the time to load it. `shot_s` contains the estimated seconds of each waiting shot,
    oldest first. The function gives each shot to the device that could start it first. If several devices could start
    the shot at the same time, `device` gets it if it is ready now. Otherwise, the first of these devices gets it.

    If the device is ready now, the result is at least the time of the oldest shot.
    """
    order = {number: 0 if number == device and ready_s[device] == 0 else number + 1 for number in range(len(ready_s))}
    queue = [(ready, order[number], number) for number, ready in enumerate(ready_s)]
    heapq.heapify(queue)
    share = 0.0
    for seconds in shot_s:
        ready, rank, number = queue[0]
        if number == device:
            share += seconds
        heapq.heapreplace(queue, (ready + seconds, rank, number))
    return share


def images_in(seconds: float, shot_s: float) -> int:
    """Return how many images of `shot_s` seconds fit into a call of `seconds` seconds, at least 1."""
    return max(1, int(seconds / shot_s + _ROUNDING)) if shot_s > 0 else 1


class CallTimes:
    """Estimates of how long a call and the loading of the model take, from earlier measurements. Not thread-safe.

    All devices of an engine share the estimates.
    """

    def __init__(self) -> None:
        self._shot_s: dict[MemoryKey, float] = {}
        self._load_s: float | None = None

    def add_call(self, key: MemoryKey, images: int, seconds: float) -> None:
        """Record that a call for this number of images has taken this long."""
        self._shot_s[key] = _average(self._shot_s.get(key), seconds / images)

    def add_load(self, seconds: float) -> None:
        """Record that loading the model has taken this long."""
        self._load_s = _average(self._load_s, seconds)

    @property
    def load_s(self) -> float:
        return _UNKNOWN_LOAD_S if self._load_s is None else self._load_s

    def shot_s(self, key: MemoryKey) -> float:
        """Return the estimated seconds per image.

        Without a measurement for this key, the estimate is proportional to the number of pixels.
        """
        if key in self._shot_s:
            return self._shot_s[key]
        if not self._shot_s:
            return _UNKNOWN_CALL_S
        pixels = sum(known.size.width * known.size.height for known in self._shot_s)
        return sum(self._shot_s.values()) * key.size.width * key.size.height / pixels


def remaining_s(expected_s: float, elapsed_s: float) -> float:
    """Return the expected rest of a call or a loading that has already taken `elapsed_s` seconds.

    If it takes longer than expected, the rest is estimated to be as long as the delay.
    """
    return abs(expected_s - elapsed_s)


def _average(average: float | None, value: float) -> float:
    return value if average is None else average + _WEIGHT * (value - average)
