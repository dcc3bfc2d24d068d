"""The steps of an order: save it, send it, find it after a lost response, poll its task, and fetch its images."""

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
from framehouse.domain.outcome import MAY_BE_PAID
from framehouse.engines.image_files import MAX_ANSWER_BYTES, Png, read_answer
from framehouse.engines.interface import Batch, GeneratedImage, OpenOrder, Progress
from framehouse.engines.kling.orders import Order, data_from_orders, orders_from_data, request_body
from framehouse.engines.kling.upstream import (
    AccountFull,
    AccountUnusable,
    AnswerLost,
    OrderAccepted,
    OrderRefused,
    QueryFailed,
    TaskNotFound,
    Upstream,
    UpstreamTask,
)
from framehouse.engines.kling.upstream_accounts import UpstreamAccount, UpstreamAccounts

log = logging.getLogger(__name__)
_ACQUIRE_TIMEOUT_S = 60.0
_FIRST_POLL_S, _LONGEST_POLL_S, _POLL_GROWTH = 0.1, 5.0, 1.5
_FIRST_LOOKUP_S, _LONGEST_LOOKUP_S = 0.5, 15.0
_MAX_OUTAGE_S = 120.0
"""The maximum time in seconds during which all queries for an order may fail. After this time, `generate` raises
Unknown to free the worker."""
_FETCH_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class OrderSettings:
    """The settings that all orders of a route share."""

    upstream: Upstream
    accounts: UpstreamAccounts
    model: str
    lost_after_s: float
    resubmit: bool
    allow_private: bool
    convert_colours: bool


class OrderExecution:
    """The execution of one order, from saving its record to fetching its images."""

    def __init__(self, settings: OrderSettings, batch: Batch, open_order: OpenOrder, order: Order) -> None:
        self._settings = settings
        self._batch = batch
        self._open_order = open_order
        self._order = order
        self._upstream = settings.upstream
        self._accounts = settings.accounts

    async def run(self, missing: set[int]) -> AsyncGenerator[GeneratedImage | Progress, None]:
        """Send or resume the order, wait until its task ends, and yield the images of the shots in `missing`."""
        async with AsyncExitStack() as slots:
            if self._order.account:
                await self._resume(slots)
            while not self._order.task_id:
                await self._send(slots)
            account = self._find_account()
            async with aclosing(self._poll(account)) as tasks:
                async for task in tasks:
                    if task.status in ("succeed", "failed"):
                        break
                    yield Progress(task.progress * 0.95)
            if task.status == "failed":
                raise Declined(task.message or "the upstream reported a failure without a reason")
            if len(task.image_urls) < self._order.images:
                raise Broken(f"the upstream generated {len(task.image_urls)} of {self._order.images} images")
            for position, index in enumerate(self._order.shots):
                if index in missing:
                    image = await self._fetch_image(account, position, task.image_urls[position])
                    yield GeneratedImage(index, image, {"upstream_model": self._settings.model or self._batch.model})

    def _find_account(self) -> UpstreamAccount:
        account = self._accounts.find(self._order.account)
        if account is None:
            raise Unknown(f"account {self._order.account}, which placed the order, is no longer configured")
        return account

    async def _save(self, order: Order) -> None:
        """Commit the state of this order together with the batch's other orders.

        An order without an account is not open, so it is removed from the saved data.
        """
        others = [other for other in orders_from_data(self._open_order.data) if other.external_id != order.external_id]
        await self._open_order.save(data_from_orders([*others, order] if order.account else others))
        self._order = order

    async def forget(self) -> None:
        """Remove this order from the saved data, because the order is no longer open."""
        await self._save(replace(self._order, account=""))

    async def _resume(self, slots: AsyncExitStack) -> None:
        """Find an order that an earlier call saved and may have sent.

        Afterwards, the order either has a task id, or must be sent again because it was lost and `resubmit` is set.
        """
        account = self._find_account()
        with ExitStack() as attempt:
            attempt.enter_context(self._accounts.count_in_flight(account, self._order.images))
            if not self._order.task_id:
                await self._find_lost_order(account)
            if self._order.task_id:
                slots.push(attempt.pop_all())

    async def _send(self, slots: AsyncExitStack) -> None:
        """Place the order through one account.

        Afterwards, the order has a task id if the upstream accepted it. If the order has no task id, it may be sent
        again later or through another account. The order is saved before it is sent. After a crash, a worker that
        resumes the batch therefore first looks up the order at the upstream, and does not immediately send the order
        again. Raises Declined if the upstream refuses the order, Unavailable if no account can be used, and the errors
        of `_find_lost_order`.
        """
        async with AsyncExitStack() as attempt:
            account = await attempt.enter_async_context(
                self._accounts.acquire(self._order.images, timeout_s=_ACQUIRE_TIMEOUT_S)
            )
            body = await asyncio.to_thread(
                request_body,
                self._order,
                self._batch,
                model=self._settings.model,
                callback_url=self._open_order.upstream_callback_url,
                convert_colours=self._settings.convert_colours,
            )
            await self._save(replace(self._order, account=account.name))
            answer = await self._upstream.submit(self._order.kind, body, account.authorization())
            match answer:
                case OrderAccepted(task_id):
                    account.end_cooldowns()
                    await self._save(replace(self._order, task_id=task_id))
                case AnswerLost(reason):
                    log.warning("order %s: the upstream %s", self._order.external_id, reason)
                    await self._find_lost_order(account)
                case AccountFull(concurrency):
                    if concurrency:
                        account.reach_concurrency_limit(self._order.images)
                    else:
                        account.reach_rate_limit()
                    await self.forget()
                case AccountUnusable(reason, needs_operator):
                    account.start_cooldown(reason, needs_operator=needs_operator)
                    log.warning("account %s: the upstream %s", account.name, reason)
                    await self.forget()
                case OrderRefused(message):
                    await self.forget()
                    raise Declined(message)
            if self._order.task_id:
                slots.push_async_exit(attempt.pop_all())

    async def _find_lost_order(self, account: UpstreamAccount) -> None:
        """Query the upstream until it returns the order, or until the order is considered lost.

        An order is considered lost if at least two queries have not found it and `lost_after_s` seconds have passed
        since this call began. If the order is found, its task id is saved. If the order is lost and `resubmit` is set,
        the order is removed from the saved data, and the calling code sends it again. If the order is lost and
        `resubmit` is not set, the route is excluded for the batch, and this method raises Unavailable. Raises Unknown
        if a query fails more than `_MAX_OUTAGE_S` seconds after this call began.
        """
        pause_s, denials, began = _FIRST_LOOKUP_S, 0, time.monotonic()
        while True:
            answer = await self._upstream.find(self._order.kind, self._order.external_id, account.authorization())
            if isinstance(answer, TaskNotFound):
                answer = await self._upstream.find_in_list(
                    self._order.kind, self._order.external_id, account.authorization()
                )
            match answer:
                case UpstreamTask(task_id):
                    await self._save(replace(self._order, task_id=task_id))
                    return
                case TaskNotFound():
                    denials += 1
                case QueryFailed(reason):
                    if time.monotonic() - began > _MAX_OUTAGE_S:
                        raise Unknown(f"the upstream {reason}; it is not yet known whether the order was accepted")
            if denials >= 2 and time.monotonic() - began > self._settings.lost_after_s:
                break
            await self._open_order.pause(min(pause_s, self._settings.lost_after_s / 4))
            pause_s = min(_LONGEST_LOOKUP_S, pause_s * 2)
        if self._settings.resubmit:
            await self.forget()
            return
        reason = f"the response was lost, and the upstream has no record of the order; the order {MAY_BE_PAID}"
        await self._open_order.give_up(reason)
        raise Unavailable(reason)

    async def _poll(self, account: UpstreamAccount) -> AsyncGenerator[UpstreamTask, None]:
        """Query the upstream's task repeatedly, with increasing pauses, and yield the state of the task.

        A failed query does not fail the task. Raises Unknown if queries fail for longer than `_MAX_OUTAGE_S`.
        """
        pause_s = _FIRST_POLL_S
        last_answer = time.monotonic()
        while True:
            answer = await self._upstream.find(self._order.kind, self._order.task_id, account.authorization())
            if isinstance(answer, UpstreamTask):
                last_answer = time.monotonic()
                yield answer
            elif time.monotonic() - last_answer > _MAX_OUTAGE_S:
                reason = answer.reason if isinstance(answer, QueryFailed) else "no longer has a record of the order"
                raise Unknown(f"the upstream {reason}")
            await self._open_order.pause(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * _POLL_GROWTH)

    async def _fetch_image(self, account: UpstreamAccount, position: int, url: str) -> NDArray[np.uint8] | Png:
        """Fetch and decode an image of the order.

        The method makes up to five attempts, because the image is already paid for. Before each further attempt, the
        upstream is queried for a new URL of the image. If all attempts fail, the method raises the error of the final
        attempt (Broken or Unknown).
        """
        failure: Broken | Unknown | None = None
        for attempt in range(_FETCH_ATTEMPTS):
            if attempt:
                await self._open_order.pause(2.0 ** (attempt - 1))
                task = await self._upstream.find(self._order.kind, self._order.task_id, account.authorization())
                if isinstance(task, UpstreamTask) and position < len(task.image_urls):
                    url = task.image_urls[position]
            try:
                content = await fetch(
                    url,
                    max_bytes=MAX_ANSWER_BYTES,
                    allow_private=self._settings.allow_private,
                    private_host=host_of(self._upstream.base_url),
                )
                return await asyncio.to_thread(read_answer, content)
            except FetchFailed as error:
                failure = Unknown(f"image {position + 1} from the upstream {error.message}")
            except Broken as error:
                failure = error
            log.warning("order %s: %s", self._order.external_id, failure.message)
        assert failure is not None  # the loop has run at least once
        raise failure

    async def cancel_if_unwanted(self) -> None:
        """Cancel the order at the upstream if our task has ended, because the images are then no longer needed."""
        account = self._accounts.find(self._order.account)
        if account and self._order.task_id and not await self._open_order.is_wanted():
            await self._upstream.cancel(self._order.kind, self._order.task_id, account.authorization())
