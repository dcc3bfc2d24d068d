"""Slots that accounts share: one account never occupies all of them, and every account gets its turn."""

import asyncio
import random

import pytest

from framehouse.adapters.account_slots import AccountSlots


class Users:
    """Requests that occupy slots until the test ends them. `running` lists the accounts in the order of their slots."""

    def __init__(self, slots: AccountSlots) -> None:
        self.slots = slots
        self.running: list[int] = []
        self.ends: dict[int, list[asyncio.Event]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, account: int, count: int = 1) -> None:
        self.tasks += [asyncio.create_task(self._use(account)) for _ in range(count)]
        await settle()

    async def end(self, account: int) -> None:
        self.ends[account].pop(0).set()
        await settle()

    async def _use(self, account: int) -> None:
        async with self.slots.slot(account):
            self.running.append(account)
            end = asyncio.Event()
            self.ends.setdefault(account, []).append(end)
            await end.wait()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("total", "per_account", "most"), [(8, 0, 4), (1, 0, 1), (2, 0, 1), (3, 3, 3)])
async def test_one_account_does_not_occupy_all_slots(total: int, per_account: int, most: int) -> None:
    users = Users(AccountSlots(total, per_account=per_account))
    await users.start(1, 20)
    assert users.running == [1] * most
    await users.start(2, 20)
    assert len(users.running) == min(total, 2 * most)
    await users.close()


async def test_a_free_slot_goes_to_the_account_with_the_fewest_slots() -> None:
    users = Users(AccountSlots(4, per_account=4))
    await users.start(1, 20)
    await users.start(2, 3)
    await users.start(3, 3)
    for _ in range(4):
        await users.end(1)
    assert users.running[4:] == [2, 3, 1, 2], "after two slots, all accounts occupy equally few slots"
    await users.close()


async def test_accounts_take_turns_for_a_single_slot() -> None:
    users = Users(AccountSlots(1))
    await users.start(1, 5)
    await users.start(2, 2)
    for account in (1, 2, 1, 2, 1, 1):
        await users.end(account)
    assert users.running == [1, 2, 1, 2, 1, 1, 1]
    await users.close()


async def test_cancelled_requests_leave_no_slot_occupied() -> None:
    slots = AccountSlots(2, per_account=2)
    choose = random.Random(1)
    users = Users(slots)
    for _ in range(200):
        await users.start(choose.randrange(3))
        choose.choice(users.tasks).cancel()  # may be waiting, running or ended
        if choose.random() < 0.5:
            await settle()
    await users.close()
    assert (slots._free, slots._accounts) == (2, {})


async def test_a_request_that_is_cancelled_with_its_slot_returns_the_slot() -> None:
    slots = AccountSlots(1)
    users = Users(slots)
    await users.start(1)
    await users.start(2)
    users.ends[1][0].set()
    await asyncio.sleep(0)  # the first request has ended, and the second request has not continued yet
    users.tasks[1].cancel()
    await settle()
    await users.start(3)
    assert users.running == [1, 3]
    await users.close()


async def test_accounts_with_one_request_at_a_time_do_not_starve_an_account_with_many() -> None:
    slots = AccountSlots(1)
    users = Users(slots)
    await users.start(1, 20)
    for account in (2, 3, 4):
        await users.start(account)
    for _ in range(40):
        account = users.running[-1]
        await users.end(account)
        if account != 1:
            await users.start(account)
    assert users.running.count(1) >= 8
    await users.close()
