"""Requests per second of an account, counted in this process."""

import time
from collections import OrderedDict

from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused

_MOST_ACCOUNTS = 10_000


class RateLimit:
    """A token bucket per account that holds one second's worth. With several API processes each counts for itself."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def check(self, caller: Caller) -> None:
        """Take one request from the account's bucket. Raises Refused (1302) when it is empty; 0 means no limit."""
        if not self._rate:
            return
        now = time.monotonic()
        most = max(1.0, self._rate)
        level, last = self._buckets.pop(caller.account_id, (most, now))
        level = min(most, level + (now - last) * self._rate)
        allowed = level >= 1
        self._buckets[caller.account_id] = (level - 1 if allowed else level, now)
        if len(self._buckets) > _MOST_ACCOUNTS:
            self._buckets.popitem(last=False)
        if not allowed:
            message = f"more than {self._rate:g} requests per second"
            raise Refused(1302, message, retry_after_s=max(1, round((1 - level) / self._rate)))
