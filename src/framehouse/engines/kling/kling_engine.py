"""The kling engine. It checks its options, and processes the orders of a batch one after another."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from PIL import Image

from framehouse.adapters.fetch import host_of
from framehouse.domain.field_reader import url_problem
from framehouse.engines.background_tasks import BackgroundTasks
from framehouse.engines.image_files import ImageFile, png_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress, ReferenceImage
from framehouse.engines.kling.order_steps import OrderExecution, OrderSettings
from framehouse.engines.kling.orders import MAX_IMAGES, orders_from_data, plan_orders
from framehouse.engines.kling.upstream import Upstream
from framehouse.engines.kling.upstream_accounts import UpstreamAccount, UpstreamAccounts
from framehouse.engines.option_checks import BadOption
from framehouse.engines.unsaved_order import UnsavedOrder

log = logging.getLogger(__name__)
_MAX_IMAGES_PER_ORDER = 9
_CLOSE_TIMEOUT_S = 2.0


class Kling:
    """An engine that orders images from an upstream that implements the Kling API.

    `base_url`: the URL to which the paths of the Kling API are appended.
    `accounts`: tables with `api_key`, or with `access_key` and `secret_key`. Optional entries are `name`,
        `concurrency` and `orders_per_minute`. `concurrency` is the maximum number of images of a model that the account
        may have in flight. `orders_per_minute` is the maximum number of orders that the account may send within any
        minute. Both limits apply to all workers together.
    `model`: the upstream's name for the model. If it is empty, the engine sends our name for the model.
    `answer_s`: the time limit for one response.
    `lost_after_s`: the time during which the engine queries the upstream for an order whose response was lost. If the
        upstream still has no such order after this time, the order is considered lost.
    `resubmit`: true to send a lost order a second time, with the same external id. This option is safe only if the
        upstream refuses a second task with the same external id.
    `allow_private_addresses`: true to fetch images from private addresses. The host of `base_url` is always allowed.
    `convert_colours`: true to convert references with a colour profile other than sRGB.
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
        convert_colours: bool = True,
    ) -> None:
        if not isinstance(base_url, str) or (problem := url_problem(base_url)):
            raise BadOption(f"base_url {problem if isinstance(base_url, str) else 'must be text'}")
        if not isinstance(accounts, list | tuple):
            raise BadOption("accounts must be a list of tables")
        for name, value in (("answer_s", answer_s), ("lost_after_s", lost_after_s)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
                raise BadOption(f"{name} must be a number of seconds greater than 0 and at most 86,400")
        self._accounts = UpstreamAccounts(accounts)
        self._upstream = Upstream(base_url, answer_s=answer_s)
        self._settings = OrderSettings(
            self._upstream, self._accounts, model, lost_after_s, resubmit, allow_private_addresses, convert_colours
        )
        self._background_tasks = BackgroundTasks()

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=MAX_IMAGES,
            max_batch=_MAX_IMAGES_PER_ORDER,
            whole_series=True,
            concurrency=min(500, sum(account.concurrency for account in self._accounts.all)),
            seeds=False,
            negative_prompts=True,
            fidelities=True,
            expansions=True,
            paid=True,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        open_order = batch.open_order or UnsavedOrder()
        saved = orders_from_data(open_order.data)
        largest = min(self._accounts.max_concurrency, _MAX_IMAGES_PER_ORDER)
        orders = deque(saved + plan_orders(batch, saved, largest=largest))
        indexes = {shot.index for shot in batch.shots}
        done = 0
        first_image: GeneratedImage | None = None
        while orders:
            order = orders.popleft()
            missing = indexes & set(order.shots)
            if not missing:
                continue
            execution = OrderExecution(self._settings, batch, open_order, order)
            try:
                async with aclosing(execution.run(missing)) as events:
                    async for event in events:
                        if isinstance(event, Progress):
                            event = Progress((done + event.share * len(missing)) / len(indexes))
                        elif event.index == 0:
                            first_image = event
                        yield event
            except (asyncio.CancelledError, GeneratorExit):
                self._background_tasks.start(execution.cancel_if_unwanted())
                raise
            done += len(missing) - len(execution.not_generated)
            if execution.not_generated:
                shots = tuple(shot for shot in batch.shots if shot.index in execution.not_generated)
                rest = plan_orders(replace(batch, shots=shots), [], largest=execution.generated)
                log.warning(
                    "order %s: the upstream generated %d of %d images; the other images are ordered separately",
                    order.external_id,
                    execution.generated,
                    order.images,
                )
                orders.extendleft(reversed(rest))
                if batch.series and first_image:
                    batch = replace(batch, first_frame=await asyncio.to_thread(_reference, first_image))
            if any(indexes & set(later.shots) for later in orders):
                await execution.forget()  # this order is complete, so another route may generate the remaining shots

    async def check(self) -> list[HealthCheck]:
        return await asyncio.gather(*(self._check(account) for account in self._accounts.all))

    async def _check(self, account: UpstreamAccount) -> HealthCheck:
        subject = f"account {account.name} at {host_of(self._upstream.base_url)}"
        if reason := await self._upstream.check_account(account.authorization()):
            account.start_cooldown(reason)
            return HealthCheck(
                subject, ok=False, reason=f"the upstream {reason}", advice="Check base_url and the account's keys."
            )
        if account.cooldown.remaining_s:
            return HealthCheck(
                subject,
                ok=False,
                reason=f"the upstream {account.cooldown.reason}",
                advice="Check the account at the upstream.",
            )
        in_flight = f"{account.in_flight} of {account.limit} images in flight"
        return HealthCheck(subject, ok=True, reason=f"the upstream accepts the account; {in_flight}")

    async def close(self) -> None:
        await self._background_tasks.finish(_CLOSE_TIMEOUT_S)
        await self._upstream.close()


def _reference(generated: GeneratedImage) -> ReferenceImage:
    """Return a generated image as a reference. Blocks the calling thread."""
    image = generated.image
    if isinstance(image, ImageFile):
        return ReferenceImage(image.file, image.width, image.height)
    return ReferenceImage(png_file(Image.fromarray(image)), image.shape[1], image.shape[0])
