"""The life of an order: written down, sent once, asked for where its answer was lost, followed, fetched."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.engines.base import Abilities, Batch, Check, Memory, Painted, Progress
from framehouse.adapters.engines.kling.accounts import Account, Accounts
from framehouse.adapters.engines.kling.orders import MOST_PICTURES, Order, body_of, plan_orders, read_note, write_note
from framehouse.adapters.engines.kling.upstream import (
    Absent,
    Found,
    Full,
    Lost,
    Refusal,
    Taken,
    Unanswered,
    Unfit,
    Upstream,
)
from framehouse.adapters.engines.pictures import MAX_ANSWER_BYTES, decode_answer
from framehouse.adapters.engines.registry import BadOption
from framehouse.adapters.fetch import FetchFailed, fetch
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.request import url_problem

log = logging.getLogger(__name__)
_MOST_PER_ORDER = 9
_FULL_PATIENCE_S = 60.0
_FIRST_POLL_S, _LONGEST_POLL_S, _GROWTH = 0.1, 5.0, 1.5
_FIRST_ASK_S, _LONGEST_ASK_S = 0.5, 15.0
_SILENT_S = 120.0
"""So long an upstream may be away while an order is followed, before the worker turns to other work meanwhile."""
_FETCH_TRIES = 5
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
        self._host = _host(base_url)
        self._model = model
        self._lost_after_s = lost_after_s
        self._resubmit = resubmit
        self._allow_private = allow_private_addresses
        self._errands: set[asyncio.Task[None]] = set()

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=MOST_PICTURES,
            max_batch=_MOST_PER_ORDER,
            whole_series=True,
            at_once=min(500, sum(account.concurrency for account in self._accounts.all)),
            seeds=False,
        )

    async def paint(self, batch: Batch) -> AsyncIterator[Painted | Progress]:
        memory = batch.memory or _NoMemory()
        known = read_note(memory.note)
        orders = known + plan_orders(batch, known, largest=min(self._accounts.most, _MOST_PER_ORDER))
        wanted = {shot.index for shot in batch.shots}
        done = 0
        for place, order in enumerate(orders):
            missing = wanted & set(order.shots)
            if not missing:
                continue
            life = _Life(self, batch, memory, order)
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

    async def check(self) -> list[Check]:
        return await asyncio.gather(*(self._check(account) for account in self._accounts.all))

    async def _check(self, account: Account) -> Check:
        what = f"account {account.name} at {self._host}"
        if why := await self._upstream.look(account.authorization()):
            account.unfit(why)
            return Check(what, fit=False, told=why, do="Check base_url and the account's keys.")
        if account.rest.left_s:
            return Check(what, fit=False, told=account.rest.why, do="Look at the account at the upstream.")
        return Check(what, fit=True, told=f"lets us in; {account.in_flight} of {account.limit} pictures in flight")

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


class _Life:
    """One order's way from the note to the pictures."""

    def __init__(self, house: Kling, batch: Batch, memory: Memory, order: Order) -> None:
        self._house = house
        self._batch = batch
        self._memory = memory
        self._order = order
        self._upstream = house._upstream
        self._accounts = house._accounts

    async def live(self, missing: set[int]) -> AsyncIterator[Painted | Progress]:
        """Have the order made, and its missing shots."""
        async with AsyncExitStack() as held:
            if self._order.account:
                await self._resume(held)
            while not self._order.task_id:
                await self._send(held)
            account = self._account()
            async with aclosing(self._follow(account)) as looks:
                async for found in looks:
                    if found.status in ("succeed", "failed"):
                        break
                    yield Progress(found.progress * 0.95)
            if found.status == "failed":
                raise Declined(found.message or "the upstream failed without a reason")
            if len(found.images) < self._order.images:
                raise Broken(f"the upstream made {len(found.images)} of {self._order.images} pictures")
            for place, index in enumerate(self._order.shots):
                if index in missing:
                    pixels = await self._fetch(account, place, found.images[place])
                    yield Painted(index, pixels, {"upstream_model": self._house._model or self._batch.model})

    def _account(self) -> Account:
        account = self._accounts.find(self._order.account)
        if account is None:
            raise Unknown(f"account {self._order.account}, which ordered this, is not configured any more")
        return account

    async def _keep(self, order: Order) -> None:
        """Commit how the order is, beside the others of this batch; one without an account is none yet."""
        others = [other for other in read_note(self._memory.note) if other.external_id != order.external_id]
        await self._memory.keep(write_note([*others, order] if order.account else others))
        self._order = order

    async def forget(self) -> None:
        """The order is done with: nothing of it is under way."""
        await self._keep(replace(self._order, account=""))

    async def _resume(self, held: AsyncExitStack) -> None:
        """Find out about an order of an earlier life, which may have been taken."""
        account = self._account()
        with ExitStack() as trial:
            trial.enter_context(self._accounts.hold(account, self._order.images))
            if not self._order.task_id:
                await self._ask_for_it(account)
            if self._order.task_id:
                held.push(trial.pop_all())

    async def _send(self, held: AsyncExitStack) -> None:
        """Try to have the order taken, by one account. It is not, if afterwards it has no task id."""
        async with AsyncExitStack() as trial:
            account = await trial.enter_async_context(
                self._accounts.take(self._order.images, patience_s=_FULL_PATIENCE_S)
            )
            body = await asyncio.to_thread(
                body_of, self._order, self._batch, model=self._house._model, callback_url=self._memory.hasten_url
            )
            await self._keep(replace(self._order, account=account.name))
            answer = await self._upstream.submit(body, account.authorization())
            match answer:
                case Taken(task_id):
                    account.took()
                    await self._keep(replace(self._order, task_id=task_id))
                case Lost(why):
                    log.warning("order %s: %s", self._order.external_id, why)
                    await self._ask_for_it(account)
                case Full(too_many):
                    if too_many:
                        account.refused(self._order.images)
                    else:
                        account.full.begin("is asked too fast")
                    await self.forget()
                case Unfit(why, long):
                    account.unfit(why, long=long)
                    log.warning("account %s %s", account.name, why)
                    await self.forget()
                case Refusal(why):
                    await self.forget()
                    raise Declined(why)
            if self._order.task_id:
                held.push_async_exit(trial.pop_all())

    async def _ask_for_it(self, account: Account) -> None:
        """The order may have been taken: ask until the upstream says so, or has said for long enough that it was not.

        Raises Unknown where it cannot be asked, and Unavailable, never to be sent here again, where it was not taken.
        """
        pause_s, denials, began = _FIRST_ASK_S, 0, time.monotonic()
        while True:
            answer = await self._upstream.find(self._order.external_id, account.authorization())
            if isinstance(answer, Absent):
                answer = await self._upstream.find_in_list(self._order.external_id, account.authorization())
            match answer:
                case Found(task_id):
                    await self._keep(replace(self._order, task_id=task_id))
                    return
                case Absent():
                    denials += 1
                case Unanswered(why):
                    if time.monotonic() - began > _SILENT_S:
                        raise Unknown(f"the upstream {why}; whether it took the order is not known yet")
            if denials >= 2 and time.monotonic() - began > self._house._lost_after_s:
                break
            await self._memory.pause(min(pause_s, self._house._lost_after_s / 4))
            pause_s = min(_LONGEST_ASK_S, pause_s * 2)
        if self._house._resubmit:
            await self.forget()
            return
        why = "the upstream's answer was lost and it knows nothing of the order, which is not sent again"
        await self._memory.give_up(why)
        raise Unavailable(why)

    async def _follow(self, account: Account) -> AsyncIterator[Found]:
        """The order as the upstream tells it, again and again. What goes wrong with asking never fails it."""
        pause_s = _FIRST_POLL_S
        silent_since = time.monotonic()
        while True:
            answer = await self._upstream.find(self._order.task_id, account.authorization())
            if isinstance(answer, Found):
                silent_since = time.monotonic()
                yield answer
            elif time.monotonic() - silent_since > _SILENT_S:
                why = answer.why if isinstance(answer, Unanswered) else "does not know the order any more"
                raise Unknown(f"the upstream {why}")
            await self._memory.pause(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * _GROWTH)

    async def _fetch(self, account: Account, place: int, url: str) -> NDArray[np.uint8]:
        """A picture of the order, fetched and decoded. It is paid for: it is tried again, also by a new URL."""
        trouble: Broken | Unknown | None = None
        for attempt in range(_FETCH_TRIES):
            if attempt:
                await self._memory.pause(2.0 ** (attempt - 1))
                found = await self._upstream.find(self._order.task_id, account.authorization())
                if isinstance(found, Found) and place < len(found.images):
                    url = found.images[place]
            private = self._house._allow_private or _host(url) == self._house._host
            try:
                content = await fetch(url, most_bytes=MAX_ANSWER_BYTES, allow_private=private)
                return await asyncio.to_thread(decode_answer, content)
            except FetchFailed as error:
                trouble = Unknown(f"picture {place + 1} of the upstream {error.message}")
            except Broken as error:
                trouble = error
            log.warning("order %s: %s", self._order.external_id, trouble.message)
        assert trouble is not None  # it has been tried at least once
        raise trouble

    async def cancel_if_unwanted(self) -> None:
        """End the order at an upstream that can, if its task has ended here: nobody wants the pictures."""
        account = self._accounts.find(self._order.account)
        if account and self._order.task_id and not await self._memory.wanted():
            await self._upstream.cancel(self._order.task_id, account.authorization())


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class _NoMemory:
    """For a batch that nobody will ask for again: it is remembered for as long as the call lasts."""

    hasten_url = None

    def __init__(self) -> None:
        self.note: Mapping[str, Any] = {}

    async def keep(self, note: Mapping[str, Any]) -> None:
        self.note = note

    async def give_up(self, why: str) -> None:
        self.note = {}

    async def wanted(self) -> bool:
        return True

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
