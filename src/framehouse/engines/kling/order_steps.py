"""The life of an order: written down, sent once, asked for where its answer was lost, followed, fetched."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.fetch import FetchFailed, fetch, host_of
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.engines.image_files import MAX_ANSWER_BYTES, Png, read_answer
from framehouse.engines.interface import Batch, GeneratedImage, OpenOrder, Progress
from framehouse.engines.kling.orders import Order, body_of, read_note, write_note
from framehouse.engines.kling.upstream import (
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
from framehouse.engines.kling.upstream_accounts import Account, Accounts

log = logging.getLogger(__name__)
_FULL_PATIENCE_S = 60.0
_FIRST_POLL_S, _LONGEST_POLL_S, _GROWTH = 0.1, 5.0, 1.5
_FIRST_ASK_S, _LONGEST_ASK_S = 0.5, 15.0
_SILENT_S = 120.0
"""So long an upstream may be away while an order is followed, before the worker turns to other work meanwhile."""
_FETCH_TRIES = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """What a route's orders have in common; the names are those of its options."""

    upstream: Upstream
    accounts: Accounts
    model: str
    lost_after_s: float
    resubmit: bool
    allow_private: bool


class Life:
    """One order's way from the note to the pictures."""

    def __init__(self, terms: Terms, batch: Batch, open_order: OpenOrder, order: Order) -> None:
        self._terms = terms
        self._batch = batch
        self._open_order = open_order
        self._order = order
        self._upstream = terms.upstream
        self._accounts = terms.accounts

    async def live(self, missing: set[int]) -> AsyncGenerator[GeneratedImage | Progress, None]:
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
                    image = await self._fetch(account, place, found.images[place])
                    yield GeneratedImage(index, image, {"upstream_model": self._terms.model or self._batch.model})

    def _account(self) -> Account:
        account = self._accounts.find(self._order.account)
        if account is None:
            raise Unknown(f"account {self._order.account}, which ordered this, is not configured any more")
        return account

    async def _keep(self, order: Order) -> None:
        """Commit how the order is, beside the others of this batch; one without an account is none yet."""
        others = [other for other in read_note(self._open_order.data) if other.external_id != order.external_id]
        await self._open_order.save(write_note([*others, order] if order.account else others))
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
                body_of,
                self._order,
                self._batch,
                model=self._terms.model,
                callback_url=self._open_order.upstream_callback_url,
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
                        account.full.start("is asked too fast")
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
            if denials >= 2 and time.monotonic() - began > self._terms.lost_after_s:
                break
            await self._open_order.pause(min(pause_s, self._terms.lost_after_s / 4))
            pause_s = min(_LONGEST_ASK_S, pause_s * 2)
        if self._terms.resubmit:
            await self.forget()
            return
        why = "the upstream's answer was lost and it knows nothing of the order, which is not sent again"
        await self._open_order.give_up(why)
        raise Unavailable(why)

    async def _follow(self, account: Account) -> AsyncGenerator[Found, None]:
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
            await self._open_order.pause(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * _GROWTH)

    async def _fetch(self, account: Account, place: int, url: str) -> NDArray[np.uint8] | Png:
        """A picture of the order, fetched and decoded. It is paid for: it is tried again, also by a new URL."""
        trouble: Broken | Unknown | None = None
        for attempt in range(_FETCH_TRIES):
            if attempt:
                await self._open_order.pause(2.0 ** (attempt - 1))
                found = await self._upstream.find(self._order.task_id, account.authorization())
                if isinstance(found, Found) and place < len(found.images):
                    url = found.images[place]
            try:
                content = await fetch(
                    url,
                    most_bytes=MAX_ANSWER_BYTES,
                    allow_private=self._terms.allow_private,
                    private_host=host_of(self._upstream.base_url),
                )
                return await asyncio.to_thread(read_answer, content)
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
        if account and self._order.task_id and not await self._open_order.is_wanted():
            await self._upstream.cancel(self._order.task_id, account.authorization())
