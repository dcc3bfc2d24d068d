"""Limits how many images the API verifies, so that verifications do not slow down other requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from framehouse.adapters.account_slots import AccountSlots
from framehouse.adapters.fetch import fetch
from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.verification import MAX_VERIFIED_BYTES, Verification
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.pipeline.verify import verify

_PER_SECOND = 2.0
_RUNNING, _FETCHES, _MAX_WAITING = 2, 4, 100


class ImageVerifier:
    """Verifies images for the accounts of one API process.

    An account may start two verifications per second. At most two verifications run at the same time, and at most one
    of them for the same account. The accounts take turns. Files that wait for their turn are on disk, except the files
    of at most four URLs.
    """

    def __init__(self, db: Database, *, allow_private: bool) -> None:
        self._db = db
        self._allow_private = allow_private
        self._checker = ImageChecker(processes=_RUNNING)
        self._rate = RateLimit(_PER_SECOND)
        self._slots = AccountSlots(_RUNNING, per_account=1)
        self._fetch_slots = AccountSlots(_FETCHES)
        self._waiting = 0

    @asynccontextmanager
    async def admitted(self, caller: Caller) -> AsyncIterator[None]:
        """Count a request while it is processed. Raises Refused (1302) if the account or all accounts send too many."""
        self._rate.check(caller)
        if self._waiting >= _MAX_WAITING:
            raise Refused(1302, "too many images are waiting to be verified; try again", retry_after_s=2)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait until the caller's account may verify an image, and occupy its place during the `async with` block."""
        async with self._slots.slot(caller.account_id):
            yield

    @asynccontextmanager
    async def fetched(self, url: str, caller: Caller) -> AsyncIterator[bytes]:
        """Fetch an image from a URL, with the same restrictions as a reference. Raises FetchFailed.

        During the `async with` block, the file is in memory and occupies one of the places for fetched files.
        """
        async with self._fetch_slots.slot(caller.account_id):
            yield await fetch(
                url,
                max_bytes=MAX_VERIFIED_BYTES,
                allow_private=self._allow_private,
                account_id=caller.account_id,
            )

    async def verify(self, content: bytes, caller: Caller) -> Verification:
        """Verify an image. Call this method in `turn`. Raises BadImage."""
        return await verify(content, checker=self._checker, db=self._db, account_id=caller.account_id)

    async def close(self) -> None:
        await self._checker.close()
