"""Limits the test callbacks that the API sends, so that a client cannot use the API to flood other servers."""

from collections import Counter
from typing import Any

from framehouse.adapters.postgres.pool import Database
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.signed_urls import Links
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.pipeline.send_test_callback import send_test_callback

_PER_SECOND = 2.0
_MAX_RUNNING, _MAX_RUNNING_PER_ACCOUNT = 64, 4


class CallbackTester:
    """Sends test callbacks for the accounts of one API process.

    An account may start two test callbacks per second, and wait for four test callbacks at the same time.
    """

    def __init__(self, db: Database, links: Links, *, allow_private: bool) -> None:
        self._db = db
        self._links = links
        self._allow_private = allow_private
        self._rate = RateLimit(_PER_SECOND)
        self._running: Counter[int] = Counter()

    async def send(self, url: str, caller: Caller) -> dict[str, Any]:
        """Send a test callback to a URL. Returns the result. Raises Refused (1302) if too many are already running."""
        self._rate.check(caller)
        account_id = caller.account_id
        if self._running[account_id] >= _MAX_RUNNING_PER_ACCOUNT or self._running.total() >= _MAX_RUNNING:
            raise Refused(1302, "too many test callbacks are waiting for a response; try again", retry_after_s=10)
        self._running[account_id] += 1
        try:
            result = await send_test_callback(self._db, account_id, url, self._links, allow_private=self._allow_private)
        finally:
            self._running[account_id] -= 1
            self._running += Counter()  # removes accounts without running test callbacks
        return result.data
