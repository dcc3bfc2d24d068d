"""An unhealthy server, account or device is left alone for a while, then tried again; each pause is longer."""

import random
import time

_FIRST_S, _LONGEST_S = 1.0, 60.0


class Cooldown:
    """The time during which something must not be used. Not thread-safe."""

    def __init__(self, *, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._pause_s = 0.0
        self._until = 0.0
        self.reason = ""

    def start(self, reason: str, *, at_least_s: float = 0.0) -> None:
        """Start a pause twice as long as the last one. Failures during a pause do not make it longer."""
        self.reason = reason
        if self.remaining_s > 0:
            return
        self._pause_s = min(self._longest_s, self._pause_s * 2 or self._first_s)
        self._until = time.monotonic() + max(at_least_s, self._pause_s * random.uniform(0.8, 1.2))

    def end(self) -> None:
        """Allow use immediately, and start with the shortest pause the next time."""
        self._pause_s = self._until = 0.0
        self.reason = ""

    @property
    def remaining_s(self) -> float:
        """Seconds until it may be used again; 0 if it may be used now."""
        return max(0.0, self._until - time.monotonic())
