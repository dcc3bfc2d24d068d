"""Cooldowns with exponential backoff. During a cooldown, an unhealthy server, account or device is not used."""

import random
import time

_FIRST_S, _LONGEST_S = 1.0, 60.0


class Cooldown:
    """A pause in which a server, an account or a device must not be used. This class is not thread-safe."""

    def __init__(self, *, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._pause_s = 0.0
        self._until = 0.0
        self.reason = ""

    def start(self, reason: str, *, at_least_s: float = 0.0) -> None:
        """Start a pause.

        The first pause lasts about `first_s`. Each further pause is twice as long as the previous pause, up to
        `longest_s`. Each pause is randomly shorter or longer than this calculated length, by up to 20 %.

        `at_least_s` is the minimum length of the pause, and may exceed `longest_s`. Calling this method during a pause
        replaces `reason`, but does not extend the pause.
        """
        self.reason = reason
        if self.remaining_s > 0:
            return
        self._pause_s = min(self._longest_s, self._pause_s * 2 or self._first_s)
        self._until = time.monotonic() + max(at_least_s, self._pause_s * random.uniform(0.8, 1.2))

    def end(self) -> None:
        """End the pause immediately. The next pause lasts about `first_s` again."""
        self._pause_s = self._until = 0.0
        self.reason = ""

    @property
    def remaining_s(self) -> float:
        """The remaining time of the pause in seconds, or 0 if there is no pause."""
        return max(0.0, self._until - time.monotonic())
