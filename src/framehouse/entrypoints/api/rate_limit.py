"""Limits the number of requests per second that an account may send to this process."""

import time
from collections import OrderedDict

from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused

_MAX_ACCOUNTS = 10_000


class RateLimit:
    """A token bucket per account. Each API process has separate buckets.

    `per_second` is the number of tokens that a bucket receives per second. If `per_second` is 0, there is no limit. A
    full bucket contains `per_second` tokens, or one token if `per_second` is less than 1.
    """

    def __init__(self, per_second: float) -> None:
        self._rate = per_second
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def check(self, caller: Caller) -> None:
        """Take one token from the bucket of the caller's account. Raises Refused (1302) if the bucket is empty."""
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
            message = f"the account may send at most {self._rate:g} requests per second"
            raise Refused(1302, message, retry_after_s=max(1, round((1 - level) / self._rate)))
