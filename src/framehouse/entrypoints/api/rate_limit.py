"""Limits the requests per second of an account, counted in this process."""

import time
from collections import OrderedDict

from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused

_MAX_ACCOUNTS = 10_000


class RateLimit:
    """A token bucket per account, which holds the requests of one second. Each API process counts separately."""

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def check(self, caller: Caller) -> None:
        """Take one request from the account's bucket. Raises Refused (1302) if it is empty. Rate 0 means no limit."""
        if not self._rate:
            return
        now = time.monotonic()
        capacity = max(1.0, self._rate)
        level, last = self._buckets.pop(caller.account_id, (capacity, now))
        level = min(capacity, level + (now - last) * self._rate)
        allowed = level >= 1
        self._buckets[caller.account_id] = (level - 1 if allowed else level, now)
        if len(self._buckets) > _MAX_ACCOUNTS:
            self._buckets.popitem(last=False)
        if not allowed:
            message = f"the account may make at most {self._rate:g} requests per second"
            raise Refused(1302, message, retry_after_s=max(1, round((1 - level) / self._rate)))
