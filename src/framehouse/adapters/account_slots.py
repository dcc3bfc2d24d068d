"""A limited number of slots that all accounts share."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


class AccountSlots:
    """`total` slots, for example for the processes that decode images.

    One account occupies at most `per_account` slots, or at most half of the slots if `per_account` is 0. A free slot
    goes to the waiting account that occupies the fewest slots. If several accounts are tied, the slot goes to the
    account whose last slot was assigned longest ago. The requests of one account get slots in the order of their
    arrival.
    """

    def __init__(self, total: int, *, per_account: int = 0) -> None:
        self._total = self._free = total
        self._per_account = per_account or max(1, total // 2)
        self._accounts: dict[int, _Account] = {}
        self._assignments = 0

    @property
    def occupied(self) -> int:
        """The number of slots that are occupied at the moment."""
        return self._total - self._free

    @asynccontextmanager
    async def slot(self, account_id: int) -> AsyncIterator[None]:
        """Wait for a slot, and occupy it for the duration of the `async with` block."""
        await self.acquire(account_id)
        try:
            yield
        finally:
            self.release(account_id)

    async def acquire(self, account_id: int) -> None:
        """Wait for a slot and occupy it until `release` is called."""
        # If accounts are tied, a new account comes after the accounts that already wait, but before the account that
        # received the last slot.
        account = self._accounts.setdefault(account_id, _Account(last_assignment=self._assignments - 1))
        assigned = asyncio.get_running_loop().create_future()
        account.waiting.append(assigned)
        self._assign()
        try:
            await assigned
        except asyncio.CancelledError:
            if assigned.cancelled():
                account.waiting.remove(assigned)
                self._forget_idle(account_id)
            else:  # the slot was assigned just before the cancellation
                self.release(account_id)
            raise

    def release(self, account_id: int) -> None:
        """Free a slot that `acquire` has occupied for this account."""
        self._accounts[account_id].occupied -= 1
        self._free += 1
        self._forget_idle(account_id)
        self._assign()

    def _forget_idle(self, account_id: int) -> None:
        account = self._accounts[account_id]
        if not account.waiting and not account.occupied:
            del self._accounts[account_id]

    def _assign(self) -> None:
        """Assign free slots to waiting requests until no slot is free or no waiting request may get a slot."""
        while self._free and (
            accounts := [
                account
                for account in self._accounts.values()
                if account.occupied < self._per_account and account.next_request()
            ]
        ):
            account = min(accounts, key=lambda account: (account.occupied, account.last_assignment))
            request = account.next_request()
            assert request is not None
            request.set_result(None)
            account.waiting.remove(request)
            account.occupied += 1
            self._free -= 1
            self._assignments += 1
            account.last_assignment = self._assignments


@dataclass(slots=True, eq=False)
class _Account:
    """The waiting requests and the occupied slots of one account.

    `last_assignment` is the number of the last assignment to this account. The assignments to all accounts are numbered
    consecutively.
    """

    waiting: deque["asyncio.Future[None]"] = field(default_factory=deque)
    occupied: int = 0
    last_assignment: int = 0

    def next_request(self) -> "asyncio.Future[None] | None":
        """Return the oldest waiting request that was not cancelled."""
        return next((request for request in self.waiting if not request.done()), None)
