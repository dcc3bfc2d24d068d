"""A server or account that was found unfit is left alone for a while, longer each time, then tried once again."""

import random
import time

_FIRST_S, _LONGEST_S = 1.0, 60.0


class Rest:
    """How long something is not to be asked. Not for several threads."""

    def __init__(self, *, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._pause_s = 0.0
        self._until = 0.0
        self.why = ""

    def begin(self, why: str, *, at_least_s: float = 0.0) -> None:
        """It is unfit: rest, twice as long as the last time. What fails while it rests already counts once."""
        if self.left_s > 0:
            self.why = why
            return
        self._pause_s = min(self._longest_s, self._pause_s * 2 or self._first_s)
        self._until = time.monotonic() + max(at_least_s, self._pause_s * random.uniform(0.8, 1.2))
        self.why = why

    def end(self) -> None:
        """It works: ask it as ever."""
        self._pause_s = self._until = 0.0
        self.why = ""

    @property
    def left_s(self) -> float:
        """Seconds until it may be asked again; 0 now."""
        return max(0.0, self._until - time.monotonic())
