"""Accept a request: validate the request, reserve quota and units, and save the task and its batches.

Concurrent requests can share a transaction.
"""

import asyncio
import contextvars
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import assert_never

from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, notify
from framehouse.adapters.postgres.coalesce import Coalesced
from framehouse.adapters.postgres.new_task import NewTask
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.task_store import AcceptResult, accept_tasks, find_accepted
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import metrics, spans
from framehouse.domain.account import Caller
from framehouse.domain.aspect_ratio import default_ratio, ratio_from_references
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.field_reader import shortened
from framehouse.domain.mask import mask_problems, mask_size_problem, split_mask
from framehouse.domain.model import Model
from framehouse.domain.plan_shots import make_plan
from framehouse.domain.reference import Reference, SentImage
from framehouse.domain.sizes import AUTO
from framehouse.domain.task import ImageRequest, Ticket, new_task_id
from framehouse.pipeline.references import InspectedImage, inspect_input, store
from framehouse.pipeline.saved_elements import find_elements, store_preset_images
from framehouse.pipeline.uploads import find_uploads

_RETRY_AFTER_S = 2
_NOTIFY_EVERY_S = 0.005
"""The minimum time between two notifications, in seconds. The number of notifications is limited, because the commit of
a transaction with NOTIFY takes a lock, and the commits of all other transactions with NOTIFY wait for that lock."""


async def accept(
    request: ImageRequest,
    *,
    caller: Caller,
    model: Model | None,
    accept_queue: "AcceptQueue",
    storage: Storage,
    problems: Sequence[str] = (),
    idempotency: tuple[str, bytes] | None = None,
    owner: int | None = None,
    low: bool = False,
) -> Ticket:
    """Create a task for a request, or refuse the request.

    One transaction reserves quota and units, and saves the task, its shots and its batches. `problems` contains the
    problems that were already found in the request. This function adds further problems. `idempotency` contains the
    client's idempotency key and the hash of the request body. If a `framehouse generate` command waits for the task,
    `owner` is the number of the command's advisory lock. If the command dies, the task is abandoned. If `low` is true,
    the task has low priority.

    Raises Refused if the request is refused. A refused request creates no task. If references of the refused request
    were already stored, the sweeper deletes them later.
    """
    if not caller.may_use(request.model):
        raise Refused(1103, f"this key may not use {request.model}")
    db = accept_queue.db
    elements_by_id = await find_elements(db, caller.account_id, request.elements)
    uploads, upload_problems = await find_uploads(db, caller.account_id, request.images)
    inspected = [
        (sent, uploads.get(sent.field) or await inspect_input(sent.image, mask=sent.role == "mask"))
        for sent in request.images
        if sent.image
    ]
    all_problems = [
        *problems,
        *upload_problems,
        *(_unknown_element(index, id) for index, id in enumerate(request.elements) if id and id not in elements_by_id),
        *(f"{sent.field} {result}" for sent, result in inspected if isinstance(result, str)),
        *mask_problems(request, model),
        *_mask_size_problems(inspected),
    ]
    if all_problems or model is None:
        if idempotency and (first := await find_accepted(db, caller.account_id, *idempotency)):
            # a repeated request returns the task of the first request, even if an element of the task was deleted in
            # the meantime
            return Ticket(*first, request.external_task_id, replayed=True)
        raise refused_fields(all_problems)
    if reason := model.refusal(request.prompt):
        raise Refused(1301, reason)
    references = [
        replace(await store(db, storage, result), field=sent.field, role=sent.role)
        for sent, result in inspected
        if not isinstance(result, str)
    ]
    elements = [await store_preset_images(elements_by_id[id], db, storage) for id in request.elements]
    task_id = new_task_id(time.time_ns() // 1_000_000, secrets.randbits(74))
    seed = request.seed if request.seed is not None else task_id.int % 2**31
    plan = make_plan(request, seed=seed, max_batch=model.max_batch, whole_series=model.whole_series)
    ratio = plan.ratio
    if ratio == AUTO and all(reference.key for reference in references):
        sizes = [(reference.width, reference.height) for reference in split_mask(references)[0]]
        frontal = [(element.images[0].width, element.images[0].height) for element in elements]
        ratio = ratio_from_references(request.prompt, sizes, frontal) or default_ratio(request)
    task = NewTask(
        task_id=task_id,
        account_id=caller.account_id,
        kind=request.kind,
        options=request.options,
        model=request.model,
        prompt=request.prompt,
        result_type=request.result_type,
        resolution=request.resolution,
        ratio=ratio,
        watermark=request.watermark,
        units=len(plan.shots) * model.units[request.resolution],
        shots=plan.shots,
        batches=plan.batches,
        references=tuple(references),
        elements=tuple(elements),
        external_task_id=request.external_task_id,
        callback_url=request.callback_url,
        idempotency=idempotency,
        key_id=caller.key_id,
        owner=owner,
        low=low,
    )
    started_ns = spans.now_ns()
    result = await accept_queue.submit(task)
    if result.outcome == "accepted":
        spans.record("accept", task_id, started_ns, model=request.model, images=len(plan.shots))
    return _ticket(result, request)


def _mask_size_problems(inspected: Sequence[tuple[SentImage, Reference | InspectedImage | str]]) -> list[str]:
    """Return the problem of a mask that does not fit the first image. A worker checks the sizes of images from URLs."""
    sizes = {
        sent.field: (result.width, result.height)
        for sent, result in inspected
        if not isinstance(result, str) and result.width
    }
    references, mask = split_mask([sent for sent, _ in inspected])
    if mask is None or mask.field not in sizes or not references or references[0].field not in sizes:
        return []
    problem = mask_size_problem(sizes[mask.field], sizes[references[0].field])
    return [f"{mask.field} {problem}"] if problem else []


def _unknown_element(index: int, id: int) -> str:
    return f"element_list[{index}].element_id {shortened(str(id))} does not exist"


def _ticket(result: AcceptResult, request: ImageRequest) -> Ticket:
    """Return the ticket of an accepted or replayed task. Raises Refused for every other result."""
    match result.outcome:
        case "accepted":
            return Ticket(result.task_id, result.created_at, request.external_task_id)
        case "replayed":
            return Ticket(result.task_id, result.created_at, request.external_task_id, replayed=True)
        case "key_reused":
            raise Refused(1201, "Idempotency-Key was used before with another body")
        case "key_gone":
            raise Refused(1002, "the key is revoked")
        case "disabled":
            raise Refused(1100, "the account is disabled")
        case "external_taken":
            raise Refused(1201, f"External_task_id {request.external_task_id} already exists")
        case "element_gone":  # the element was deleted after `accept` had found it
            element_id = int(result.detail)
            raise Refused(1201, _unknown_element(request.elements.index(element_id), element_id))
        case "over_concurrency":
            # the Kling API specifies this message, and clients check for its exact text
            raise Refused(1303, "parallel task over resource pack limit", retry_after_s=_RETRY_AFTER_S)
        case "over_units":
            raise Refused(1102, f"the account has too few units ({result.detail})")
        case other:
            assert_never(other)


class AcceptQueue:
    """A queue that coalesces tasks: all tasks that are submitted while a transaction runs share the next transaction.

    For details, see `Coalesced`. After a transaction, the queue notifies the workers, but at most once every 5 ms.
    """

    def __init__(self, db: Database) -> None:
        self.db = db
        self._coalesced = Coalesced(self._accept, in_halves=True)
        self._notify_pending = False
        self._notifier: asyncio.Task[None] | None = None

    async def submit(self, task: NewTask) -> AcceptResult:
        """Save a task with its shots and batches, or refuse the task. Returns the result."""
        return await self._coalesced(task)

    async def _accept(self, tasks: Sequence[NewTask]) -> list[AcceptResult]:
        results = await accept_tasks(self.db, tasks)
        for outcome, count in Counter(result.outcome for result in results).items():
            metrics.ACCEPTS.labels(outcome).inc(count)
        self._notify_pending = True
        if self._notifier is None or self._notifier.done():
            self._notifier = asyncio.create_task(self._notify_workers(), context=contextvars.Context())
        return results

    async def _notify_workers(self) -> None:
        while self._notify_pending:
            self._notify_pending = False
            with suppress(*DATABASE_ERRORS):  # a lost notification is harmless, because workers also poll
                await notify(self.db, BATCHES_CHANNEL, "")
            await asyncio.sleep(_NOTIFY_EVERY_S)
