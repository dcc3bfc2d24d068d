"""Validate, plan, reserve, save task and batches: one transaction, shared with whoever arrives meanwhile."""

import asyncio
import contextvars
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import assert_never

from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, notify
from framehouse.adapters.postgres.coalesce import Coalesced
from framehouse.adapters.postgres.new_task import NewTask
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.postgres.task_store import Accepted, accept_tasks, find_accepted
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import metrics, spans
from framehouse.domain.account import Caller
from framehouse.domain.aspect_ratio import default_ratio, ratio_from_references
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.model import Model
from framehouse.domain.plan_shots import make_plan
from framehouse.domain.pricing import units_for
from framehouse.domain.sizes import AUTO
from framehouse.domain.task import ImageRequest, Ticket, new_task_id
from framehouse.pipeline.references import inspect_sent, store
from framehouse.pipeline.saved_elements import find_elements, take_along

_RETRY_AFTER_S = 2
_TELL_AGAIN_S = 0.005
"""A notification takes a lock that every other commit of one waits for."""


async def accept(
    request: ImageRequest,
    *,
    caller: Caller,
    model: Model | None,
    counter: "AcceptCounter",
    storage: Storage,
    problems: Sequence[str] = (),
    idempotency: tuple[str, bytes] | None = None,
    owner: int | None = None,
) -> Ticket:
    """Make a task of a request: quota taken, units reserved, shots and batches saved, all or nothing.

    `problems` are those found in the request so far; the ones found here join them. `idempotency` is the caller's key
    and the hash of the body, `owner` the advisory lock of a command that alone waits for the task. Raises Refused, with
    nothing stored but the bytes of references.
    """
    if not caller.may_use(request.model):
        raise Refused(1103, f"this key may not use {request.model}")
    known = await find_elements(counter.db, caller.account_id, request.elements)
    inspected = [(index, await inspect_sent(image)) for index, image in enumerate(request.images) if image]
    found = [
        *problems,
        *(_unknown(index, id) for index, id in enumerate(request.elements) if id and id not in known),
        *(f"image_list[{index}].image {result}" for index, result in inspected if isinstance(result, str)),
    ]
    if found or model is None:
        if idempotency and (first := await find_accepted(counter.db, caller.account_id, *idempotency)):
            return Ticket(*first, request.external_task_id, replayed=True)  # what it names was deleted since
        raise refused_fields(found)
    if reason := model.refusal(request.prompt):
        raise Refused(1301, reason)
    references = [await store(counter.db, storage, result) for _, result in inspected if not isinstance(result, str)]
    elements = [await take_along(known[id], counter.db, storage) for id in request.elements]
    task_id = new_task_id(time.time_ns() // 1_000_000, secrets.randbits(74))
    seed = request.seed if request.seed is not None else task_id.int % 2**31
    plan = make_plan(request, seed=seed, max_batch=model.max_batch, whole_series=model.whole_series)
    ratio = plan.ratio
    if ratio == AUTO and all(reference.key for reference in references):
        sizes = [(reference.width, reference.height) for reference in references]
        frontal = [(element.images[0].width, element.images[0].height) for element in elements]
        ratio = ratio_from_references(request.prompt, sizes, frontal) or default_ratio(request)
    task = NewTask(
        task_id=task_id,
        account_id=caller.account_id,
        model=request.model,
        prompt=request.prompt,
        result_type=request.result_type,
        resolution=request.resolution,
        ratio=ratio,
        watermark=request.watermark,
        units=units_for(len(plan.shots), request.resolution, model.units),
        shots=plan.shots,
        batches=plan.batches,
        references=tuple(references),
        elements=tuple(elements),
        external_task_id=request.external_task_id,
        callback_url=request.callback_url,
        idempotency=idempotency,
        key_id=caller.key_id,
        owner=owner,
    )
    began_ns = spans.now_ns()
    answer = await counter.offer(task)
    if answer.outcome == "accepted":
        spans.record("accept", task_id, began_ns, model=request.model, images=len(plan.shots))
    return _ticket(answer, request)


def _unknown(index: int, id: int) -> str:
    return f"element_list[{index}].element_id {id} does not exist"


def _ticket(answer: Accepted, request: ImageRequest) -> Ticket:
    match answer.outcome:
        case "accepted":
            return Ticket(answer.task_id, answer.created_at, request.external_task_id)
        case "replayed":
            return Ticket(answer.task_id, answer.created_at, request.external_task_id, replayed=True)
        case "key_reused":
            raise Refused(1201, "Idempotency-Key was used before with another body")
        case "key_gone":
            raise Refused(1002, "the key is revoked")
        case "disabled":
            raise Refused(1100, "the account is disabled")
        case "external_taken":
            raise Refused(1201, f"External_task_id {request.external_task_id} already exists")
        case "element_gone":  # deleted after it was found
            raise Refused(1201, _unknown(request.elements.index(int(answer.detail)), int(answer.detail)))
        case "over_concurrency":
            # the contract's very words, which clients compare
            raise Refused(1303, "parallel task over resource pack limit", retry_after_s=_RETRY_AFTER_S)
        case "over_units":
            raise Refused(1102, f"units used up ({answer.detail})")
        case other:
            assert_never(other)


class AcceptCounter:
    """Group commit: offers that arrive while a transaction is in progress share the next one (see `Coalesced`). Workers
    are notified after it, once for many tasks."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._coalesced = Coalesced(self._accept, by_halves=True)
        self._news = False
        self._telling: asyncio.Task[None] | None = None

    async def offer(self, task: NewTask) -> Accepted:
        return await self._coalesced(task)

    async def _accept(self, tasks: Sequence[NewTask]) -> list[Accepted]:
        answers = await accept_tasks(self.db, tasks)
        for outcome, count in Counter(answer.outcome for answer in answers).items():
            metrics.ACCEPTS.labels(outcome).inc(count)
        self._news = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), context=contextvars.Context())
        return answers

    async def _tell(self) -> None:
        while self._news:
            self._news = False
            with suppress(*TROUBLE):  # workers look by themselves, too
                await notify(self.db, BATCHES_CHANNEL, "")
            await asyncio.sleep(_TELL_AGAIN_S)
