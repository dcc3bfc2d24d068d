"""The steps of an order: save it, send it, find it after a lost response, poll its task, and fetch its images."""

import asyncio
import logging
import time
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import dataclass, replace
from urllib.parse import urljoin

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.fetch import FetchFailed, fetch, host_of
from framehouse.domain.cost import divide_cost
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.outcome import MAY_BE_PAID
from framehouse.engines.image_files import MAX_ANSWER_BYTES, ImageFile, read_answer
from framehouse.engines.interface import Batch, GeneratedImage, OpenOrder, Progress
from framehouse.engines.kling.orders import Order, data_from_orders, orders_from_data, request_body
from framehouse.engines.kling.upstream import Upstream
from framehouse.engines.kling.upstream_accounts import UpstreamAccount, UpstreamAccounts
from framehouse.engines.kling.upstream_answers import (
    AccountFull,
    AccountUnusable,
    AnswerLost,
    OrderAccepted,
    OrderRefused,
    QueryFailed,
    TaskNotFound,
    UpstreamTask,
)

log = logging.getLogger(__name__)
_ACQUIRE_TIMEOUT_S = 60.0
_FIRST_POLL_S, _LONGEST_POLL_S, _POLL_GROWTH = 0.1, 5.0, 1.5
_FIRST_LOOKUP_S, _LONGEST_LOOKUP_S = 0.5, 15.0
_MAX_OUTAGE_S = 120.0
"""The maximum time in seconds during which all queries for an order may fail. After this time, `generate` raises
Unknown to free the worker."""
_MAX_PROCESSING_S = 3600.0
"""The maximum time in seconds for which a call polls a task that does not end. After this time, `generate` raises
Unknown, and the batch is tried again later, for as long as other open orders are."""
_FETCH_ATTEMPTS = 6
_LATE_IMAGES_POLLS = 6
_HTTP_CLIENT_ERROR = "returned HTTP 4"
"""The beginning of the message of FetchFailed if the host of an image refuses the request."""


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
        self._ended = False
        self._sent_before = False
        self._places_of_others = 0
        self._send_until = 0.0
        self.not_generated: set[int] = set()
        self.generated = 0

    async def run(self, missing: set[int]) -> AsyncGenerator[GeneratedImage | Progress, None]:
        """Send or resume the order, wait until its task ends, and yield the images of the shots in `missing`.

        If the upstream generated only some of the images, `not_generated` contains the other shots afterwards.

        All images that can be fetched are yielded before an error is raised. Raises Declined if the task failed at the
        upstream. Raises Broken if the upstream generated no image, or if an image will never arrive. Raises Unknown if
        an image could arrive later.
        """
        async with AsyncExitStack() as slots:
            if self._order.account:
                await self._resume(slots)
            while not self._order.task_id:
                await self._send(slots)
            account = self._find_account()
            async with aclosing(self._wait(account)) as tasks:
                async for task in tasks:
                    if task.status != "processing":
                        break
                    yield Progress(task.progress * 0.95)
            self._ended = True
            await self._release_places(account)
            urls = {self._order.shots[place]: url for place, url in self._images(task).items()}
            costs = dict(zip(urls, divide_cost(task.cost, len(urls)), strict=True))
            failures: list[Broken | Unknown] = []
            for position, index in enumerate(self._order.shots):
                if index in missing and index in urls:
                    try:
                        image = await self._fetch_image(account, position, urls[index])
                    except (Broken, Unknown) as error:
                        failures.append(error)
                        continue
                    facts: dict[str, object] = {"upstream_model": self._settings.model or self._batch.model}
                    yield GeneratedImage(index, image, facts, costs[index])
        if failures:
            raise next((error for error in failures if isinstance(error, Unknown)), failures[0])
        self.not_generated = missing - set(urls)
        if task.status == "failed" and (self.not_generated or not urls):
            raise Declined(task.message or "the upstream reported a failure without a reason")
        if not urls:
            raise Broken(f"the upstream generated 0 of {self._order.images} images; the order {MAY_BE_PAID}")
        self.generated = len(urls)

    def _images(self, task: UpstreamTask) -> dict[int, str]:
        """Return the URLs of the images by their place in the order.

        Some upstreams count from 1. If the places still do not fit the order, the images are numbered again. Images
        that were not ordered are ignored.
        """
        places, limit = dict(task.images), self._order.images
        if places and max(places) == limit and min(places) > 0:
            places = {place - 1: url for place, url in places.items()}
        if any(not 0 <= place < limit for place in places):
            places = dict(enumerate(places.values()))
        return {place: url for place, url in places.items() if place < limit}

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
        if account := self._accounts.find(self._order.account):
            await self._release_places(account)
        await self._save(replace(self._order, account=""))

    async def _take_places(self, account: UpstreamAccount) -> bool:
        """Count the order towards the limits of the account, over all workers.

        Returns False if a limit is reached. The account is then not used for a short time.
        """
        images = self._order.images
        others = await self._open_order.take_places(self._places_of(account), images, limit=account.limit)
        if others is None:
            account.shared_cooldown.start("is used by other workers")
            return False
        self._places_of_others = others
        account.shared_cooldown.end()
        if account.orders_per_minute:
            name = f"{host_of(self._upstream.base_url)} {account.name}"
            if wait_s := await self._open_order.take_request(name, per_minute=account.orders_per_minute):
                await self._release_places(account)
                account.shared_cooldown.start("has reached its orders per minute", at_least_s=wait_s)
                return False
        return True

    async def _release_places(self, account: UpstreamAccount) -> None:
        await self._open_order.release_places(self._places_of(account))
        account.shared_cooldown.end()

    def _places_of(self, account: UpstreamAccount) -> str:
        """Return the name under which all workers count the images in flight of an account.

        Kling has a separate limit for each model.
        """
        return f"{host_of(self._upstream.base_url)} {account.name} {self._settings.model or self._batch.model}"

    async def _forget_unless_sent_before(self) -> None:
        """Remove this order from the saved data after a refusal, unless an earlier request may have been accepted."""
        if not self._sent_before:
            await self.forget()

    async def _resume(self, slots: AsyncExitStack) -> None:
        """Find an order that an earlier call saved and may have sent.

        Afterwards, the order either has a task id, or must be sent again because it was lost and `resubmit` is set.
        """
        account = self._find_account()
        with ExitStack() as attempt:
            attempt.enter_context(self._accounts.count_in_flight(account, self._order.images))
            await self._open_order.take_places(self._places_of(account), self._order.images, limit=None)
            if not self._order.task_id:
                await self._find_lost_order(account)
            if self._order.task_id:
                slots.push(attempt.pop_all())

    async def _send(self, slots: AsyncExitStack) -> None:
        """Place the order through one account.

        Afterwards, the order has a task id if the upstream accepted it. If the order has no task id, it may be sent
        again later or through another account. The order is saved before it is sent. After a crash, a worker that
        resumes the batch therefore first looks up the order at the upstream, and does not immediately send the order
        again. A lost order is sent again only through the account that may already have it, because other accounts
        accept a second order with the same external id. Raises Declined if the upstream refuses the order, Unavailable
        if no account can be used, and the errors of `_find_lost_order`.
        """
        self._send_until = self._send_until or time.monotonic() + _ACQUIRE_TIMEOUT_S
        async with AsyncExitStack() as attempt:
            account = await attempt.enter_async_context(
                self._accounts.acquire(
                    self._order.images,
                    timeout_s=max(0.0, self._send_until - time.monotonic()),
                    only=self._order.account if self._sent_before else "",
                )
            )
            if not await self._take_places(account):
                return
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
                        others = account.in_flight - self._order.images
                        account.reach_concurrency_limit(max(others, self._places_of_others))
                    else:
                        account.reach_rate_limit()
                    await self._forget_unless_sent_before()
                case AccountUnusable(reason, needs_operator, certain):
                    log.warning("account %s: the upstream %s", account.name, reason)
                    if not certain:
                        await self._find_refused_order(account)
                    if not self._order.task_id:
                        account.start_cooldown(reason, needs_operator=needs_operator)
                        await self._forget_unless_sent_before()
                case OrderRefused(message):
                    await self.forget()
                    raise Declined(message)
            if self._order.task_id:
                slots.push_async_exit(attempt.pop_all())

    async def _find_lost_order(self, account: UpstreamAccount) -> None:
        """Query the upstream until it returns the order, or until the order is considered lost.

        An order is considered lost if at least two queries have not found it and `lost_after_s` seconds have passed
        since this call began. If the order is found, its task id is saved. If the order is lost and `resubmit` is set,
        the order stays saved, and the calling code sends it again. If the order is lost and
        `resubmit` is not set, the route is excluded for the batch, and this method raises Unavailable. Raises Unknown
        if a query fails more than `_MAX_OUTAGE_S` seconds after this call began.
        """
        if await self._look_up(account, lost_after_s=self._settings.lost_after_s):
            return
        if self._settings.resubmit:
            self._sent_before = True
            return
        reason = f"the response was lost, and the upstream has no record of the order; the order {MAY_BE_PAID}"
        await self._release_places(account)
        await self._open_order.give_up(reason)
        raise Unavailable(reason)

    async def _find_refused_order(self, account: UpstreamAccount) -> None:
        """Query the upstream twice for an order that it answered with an internal error.

        If the order is found, its task id is saved. Raises Unknown if the upstream cannot be queried.
        """
        await self._look_up(account, lost_after_s=0.0)

    async def _look_up(self, account: UpstreamAccount, *, lost_after_s: float) -> bool:
        """Query the upstream until the order is found, or until it was not found twice and `lost_after_s` have passed.

        If the order is found, its task id is saved. Returns whether the order was found. Raises Unknown if a query
        fails more than `_MAX_OUTAGE_S` seconds after this call began.
        """
        pause_s, denials, began = _FIRST_LOOKUP_S, 0, time.monotonic()
        while True:
            match await self._find(account):
                case UpstreamTask(task_id):
                    await self._save(replace(self._order, task_id=task_id))
                    return True
                case TaskNotFound():
                    denials += 1
                case QueryFailed(reason):
                    if time.monotonic() - began > _MAX_OUTAGE_S:
                        raise Unknown(f"the upstream {reason}; it is not yet known whether the order was accepted")
            if denials >= 2 and time.monotonic() - began >= lost_after_s:
                return False
            await self._open_order.pause(min(pause_s, lost_after_s / 4 or pause_s))
            pause_s = min(_LONGEST_LOOKUP_S, pause_s * 2)

    async def _find(self, account: UpstreamAccount) -> UpstreamTask | TaskNotFound | QueryFailed:
        order = self._order
        return await self._upstream.find(order.kind, order.external_id, order.task_id, account.authorization())

    async def _wait(self, account: UpstreamAccount) -> AsyncGenerator[UpstreamTask, None]:
        """Poll the task until it has ended, and yield its states.

        If a task succeeded and images are missing, it is polled a few more times, because some upstreams list the
        images later.
        """
        late_polls = 0
        async with aclosing(self._poll(account)) as tasks:
            async for task in tasks:
                if task.status == "succeed" and len(self._images(task)) < self._order.images:
                    late_polls += 1
                    if late_polls <= _LATE_IMAGES_POLLS:
                        yield replace(task, status="processing")
                        continue
                yield task

    async def _poll(self, account: UpstreamAccount) -> AsyncGenerator[UpstreamTask, None]:
        """Query the upstream's task repeatedly, with increasing pauses, and yield the state of the task.

        A failed query does not fail the task. Raises Unknown if queries fail for longer than `_MAX_OUTAGE_S`, or if the
        task does not end within `_MAX_PROCESSING_S`.
        """
        pause_s = _FIRST_POLL_S
        began = last_answer = time.monotonic()
        while True:
            answer = await self._find(account)
            if isinstance(answer, UpstreamTask):
                last_answer = time.monotonic()
                yield answer
                if last_answer - began > _MAX_PROCESSING_S:
                    raise Unknown(f"the upstream has not completed the order for {_MAX_PROCESSING_S / 60:.0f} minutes")
            elif time.monotonic() - last_answer > _MAX_OUTAGE_S:
                reason = answer.reason if isinstance(answer, QueryFailed) else "no longer has a record of the order"
                raise Unknown(f"the upstream {reason}")
            await self._open_order.pause(pause_s)
            pause_s = min(_LONGEST_POLL_S, pause_s * _POLL_GROWTH)

    async def _fetch_image(self, account: UpstreamAccount, position: int, url: str) -> NDArray[np.uint8] | ImageFile:
        """Fetch and decode an image of the order.

        The method makes up to six attempts, because the image is already paid for. Before each further attempt, the
        upstream is queried for a new URL of the image. If all attempts fail, the method raises the error of the final
        attempt: Broken if the image does not exist or is damaged, and Unknown if it could be fetched later.
        """
        failure: Broken | Unknown | None = None
        subject = f"image {position + 1} of {self._order.images} from the upstream"
        for attempt in range(_FETCH_ATTEMPTS):
            if attempt:
                await self._open_order.pause(2.0 ** (attempt - 1))
                task = await self._find(account)
                if isinstance(task, UpstreamTask):
                    url = self._images(task).get(position, url)
            try:
                return await asyncio.to_thread(read_answer, await self._fetch(url))
            except FetchFailed as error:
                if not error.retry and error.message.startswith(_HTTP_CLIENT_ERROR):
                    failure = Broken(f"{subject} {error.message}; the order {MAY_BE_PAID}")
                else:
                    failure = Unknown(f"{subject} {error.message}")
            except Broken as error:
                failure = Broken(f"{subject} is unusable: {error.message}; the order {MAY_BE_PAID}")
            log.warning("order %s: %s", self._order.external_id, failure.message)
        assert failure is not None  # the loop has run at least once
        raise failure

    async def _fetch(self, url: str) -> bytes:
        """Fetch a file. A relative URL is relative to `base_url`. A `data:` URL contains the file itself.

        Raises FetchFailed, and Broken if a `data:` URL is invalid.
        """
        if url[:5].lower() == "data:":
            try:
                return b64decode(url.partition(",")[2], validate=False)
            except ValueError as error:
                raise Broken("its data: URL is invalid") from error
        return await fetch(
            _absolute(f"{self._upstream.base_url}/", url),
            max_bytes=MAX_ANSWER_BYTES,
            allow_private=self._settings.allow_private,
            private_host=host_of(self._upstream.base_url),
        )

    async def cancel_if_unwanted(self) -> None:
        """Cancel the order at the upstream if our task has ended, because the images are then no longer needed.

        An order that has ended at the upstream is not cancelled.
        """
        account = self._accounts.find(self._order.account)
        if self._ended or not account or not self._order.task_id or await self._open_order.is_wanted():
            return
        task = await self._find(account)
        if not isinstance(task, UpstreamTask) or task.status == "processing":
            await self._upstream.cancel(self._order.kind, self._order.task_id, account.authorization())


def _absolute(base: str, url: str) -> str:
    try:
        return urljoin(base, url)
    except ValueError:
        return url  # an invalid URL, for which `fetch` raises FetchFailed
