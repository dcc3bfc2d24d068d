"""The engine: its options, and a batch as one order after the other."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from framehouse.adapters.fetch import host_of
from framehouse.domain.request import url_problem
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress
from framehouse.engines.kling.order_steps import Life, Terms
from framehouse.engines.kling.orders import MAX_IMAGES, plan_orders, read_note
from framehouse.engines.kling.upstream import Upstream
from framehouse.engines.kling.upstream_accounts import Account, Accounts
from framehouse.engines.option_checks import BadOption

_MOST_PER_ORDER = 9
_ERRAND_S = 2.0


class Kling:
    """Orders pictures at `base_url`, the URL that the contract's paths follow, for `accounts`, each a table of
    `api_key`, or `access_key` and `secret_key`, with `concurrency` (pictures at once) and `name`.

    `model`: what the upstream calls the model (empty: as we do). `answer_s`: how long an answer may take.
    `lost_after_s`: how long an order whose answer was lost is asked for before the upstream's "no such task" is
    believed. `resubmit`: then it is sent once more, under the same external id: only for upstreams that refuse a second
    task of the same id. `allow_private_addresses`: pictures may be fetched from private addresses; from the host of
    `base_url` they always may.
    """

    def __init__(
        self,
        *,
        base_url: str,
        accounts: Sequence[Mapping[str, object]],
        model: str = "",
        answer_s: float = 60.0,
        lost_after_s: float = 90.0,
        resubmit: bool = False,
        allow_private_addresses: bool = False,
    ) -> None:
        if not isinstance(base_url, str) or (problem := url_problem(base_url)):
            raise BadOption(f"base_url {problem if isinstance(base_url, str) else 'must be text'}")
        if not isinstance(accounts, list | tuple):
            raise BadOption("accounts must be a list of tables")
        for name, value in (("answer_s", answer_s), ("lost_after_s", lost_after_s)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
                raise BadOption(f"{name} must be a number of seconds, more than 0")
        self._accounts = Accounts(accounts)
        self._upstream = Upstream(base_url, answer_s=answer_s)
        self._terms = Terms(self._upstream, self._accounts, model, lost_after_s, resubmit, allow_private_addresses)
        self._errands: set[asyncio.Task[None]] = set()

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=MAX_IMAGES,
            max_batch=_MOST_PER_ORDER,
            whole_series=True,
            concurrency=min(500, sum(account.concurrency for account in self._accounts.all)),
            seeds=False,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        open_order = batch.open_order or _UnsavedOrder()
        known = read_note(open_order.data)
        orders = known + plan_orders(batch, known, largest=min(self._accounts.most, _MOST_PER_ORDER))
        wanted = {shot.index for shot in batch.shots}
        done = 0
        for place, order in enumerate(orders):
            missing = wanted & set(order.shots)
            if not missing:
                continue
            life = Life(self._terms, batch, open_order, order)
            try:
                async with aclosing(life.live(missing)) as events:
                    async for event in events:
                        if isinstance(event, Progress):
                            event = Progress((done + event.share * len(missing)) / len(wanted))
                        yield event
            except (asyncio.CancelledError, GeneratorExit):
                self._run_errand(life.cancel_if_unwanted())
                raise
            done += len(missing)
            if any(wanted & set(later.shots) for later in orders[place + 1 :]):
                await life.forget()  # what comes next may go elsewhere; this one is done

    async def check(self) -> list[HealthCheck]:
        return await asyncio.gather(*(self._check(account) for account in self._accounts.all))

    async def _check(self, account: Account) -> HealthCheck:
        what = f"account {account.name} at {host_of(self._upstream.base_url)}"
        if why := await self._upstream.look(account.authorization()):
            account.unfit(why)
            return HealthCheck(what, ok=False, reason=why, advice="Check base_url and the account's keys.")
        if account.cooldown.remaining_s:
            return HealthCheck(
                what, ok=False, reason=account.cooldown.reason, advice="Look at the account at the upstream."
            )
        return HealthCheck(
            what, ok=True, reason=f"lets us in; {account.in_flight} of {account.limit} pictures in flight"
        )

    async def close(self) -> None:
        if self._errands:
            _, late = await asyncio.wait(self._errands, timeout=_ERRAND_S)
            for errand in late:
                errand.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._upstream.close()

    def _run_errand(self, errand: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


class _UnsavedOrder:
    """The open order of a call that will not be repeated: kept in memory until the call ends."""

    upstream_callback_url = None

    def __init__(self) -> None:
        self.data: Mapping[str, Any] = {}

    async def save(self, data: Mapping[str, Any]) -> None:
        self.data = data

    async def give_up(self, reason: str) -> None:
        self.data = {}

    async def is_wanted(self) -> bool:
        return True

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
