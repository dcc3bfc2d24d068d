"""The fal engine. It groups shots into orders, and processes the orders of a batch one after another."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from framehouse.adapters.fetch import host_of
from framehouse.domain.errors import Broken, Declined
from framehouse.domain.shot import Shot
from framehouse.engines.background_tasks import BackgroundTasks
from framehouse.engines.fal.fal_options import check_options
from framehouse.engines.fal.fal_orders import FalOrder, order_from_data
from framehouse.engines.fal.fal_queue import FalQueue
from framehouse.engines.fal.fal_steps import FalOrderExecution, FalRoute
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.image_files import answer_file
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, HealthCheck, Progress
from framehouse.engines.paid_account import PaidAccount
from framehouse.engines.unsaved_order import UnsavedOrder

_CLOSE_TIMEOUT_S = 2.0


class Fal:
    """An engine that buys images from models on fal. docs/engines/fal.md explains the options."""

    __signature__ = inspect.signature(check_options)

    def __init__(self, **options: Any) -> None:
        self._options = check_options(**options)
        self._account = PaidAccount("fal", concurrency=self._options.concurrency)
        self._queue = FalQueue(
            queue_url=self._options.queue_url,
            storage_url=self._options.storage_url,
            api_key=self._options.api_key,
            answer_s=self._options.answer_s,
        )
        self._route = FalRoute(self._options, self._queue, self._account)
        self._background_tasks = BackgroundTasks()

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=10 if self._options.max_references else 0,
            max_batch=self._options.max_images,
            whole_series=self._options.max_references > 0,
            concurrency=self._options.concurrency,
            seeds=False,
            negative_prompts="negative_prompt" in self._options.uses,
            needs_reference=not self._options.model,
            paid=True,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        open_order = batch.open_order or UnsavedOrder()
        saved = order_from_data(open_order.data)
        shows_first_frame = batch.series and self._options.max_references > 0
        first_frame = batch.first_frame.content if shows_first_frame and batch.first_frame else b""
        remaining = list(batch.shots)
        while remaining:
            shots = self._next_group(remaining, single=shows_first_frame and not first_frame)
            order = saved or FalOrder(tuple(shot.index for shot in shots), self._model(batch, first_frame))
            missing = {shot.index for shot in remaining} & set(order.shots)
            if missing:
                execution = FalOrderExecution(self._route, batch, open_order, order, shots)
                try:
                    async with aclosing(execution.run(missing, first_frame, resumed=saved is not None)) as events:
                        async for event in events:
                            if isinstance(event, Progress):
                                done = len(batch.shots) - len(remaining) + event.share * len(missing)
                                event = Progress(done / len(batch.shots))
                            elif shows_first_frame and not first_frame:
                                first_frame = await asyncio.to_thread(answer_file, event.image)
                            yield event
                except (asyncio.CancelledError, GeneratorExit):
                    self._background_tasks.start(execution.cancel_if_unwanted())
                    raise
            remaining = [shot for shot in remaining if shot.index not in missing]
            saved = None
            if remaining:
                await open_order.save({})  # this order is complete, so another route may generate the other shots

    def _model(self, batch: Batch, first_frame: bytes) -> str:
        """Return the model for a request: `edit_model` if the request contains images or there is no other model."""
        if batch.references or batch.elements or first_frame or not self._options.model:
            return self._options.edit_model
        return self._options.model

    def _next_group(self, shots: Sequence[Shot], *, single: bool) -> Sequence[Shot]:
        """Return the first shot and the directly following shots that can share its request.

        Shots can share a request if they have the same prompt and framing. If `single` is true, only the first shot is
        returned.
        """
        first, count = shots[0], 1
        for shot in shots[1 : 1 if single else self._options.max_images]:
            if (shot.prompt, shot.framing) != (first.prompt, first.framing):
                break
            count += 1
        return shots[:count]

    async def check(self) -> list[HealthCheck]:
        failure: NotAccepted | OutcomeUnknown | None = None
        model = self._options.model or self._options.edit_model
        try:
            await self._queue.check(model)
        except (NotAccepted, OutcomeUnknown) as error:
            failure = error
        except (Broken, Declined) as error:
            failure = OutcomeUnknown(f"did not accept the health check: {error.message}")
        subject = f"{model} at {host_of(self._options.queue_url)}"
        return [self._account.health(subject, failure, healthy="the queue of fal responds")]

    async def close(self) -> None:
        await self._background_tasks.finish(_CLOSE_TIMEOUT_S)
        await self._queue.close()
