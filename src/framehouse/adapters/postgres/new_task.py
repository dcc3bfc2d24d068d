"""A new task, and the conversion of new tasks to the argument of the database function accept_tasks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import pydantic_core

from framehouse.adapters.postgres.reference_store import reference_columns
from framehouse.domain.element import PRESET_OWNER, Element
from framehouse.domain.expansion import Expansion
from framehouse.domain.reference import Reference
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.domain.task import NO_OPTIONS, RequestOptions
from framehouse.domain.task_kind import TaskKind
from framehouse.domain.turn_cost import shot_cost


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task whose shots have been planned (see `domain.plan_shots`), but that has not been accepted yet.

    `batches` contains the shot indexes of each batch. The images of `elements` are already stored. `idempotency`
    contains the client's idempotency key and the hash of the request body. `key_id` is the id of the API key that
    accept_tasks checks. If `key_id` is None, no key is checked. If a `framehouse generate` command waits for the task,
    `owner` is the number of the command's advisory lock. If an API client sent the request, `owner` is None. If `low`
    is true, the task has low priority.
    """

    task_id: UUID
    account_id: int
    model: str
    prompt: str
    result_type: str
    resolution: str
    ratio: str
    watermark: bool
    units: int
    shots: tuple[Shot, ...]
    batches: tuple[tuple[int, ...], ...]
    references: tuple[Reference, ...] = ()
    elements: tuple[Element, ...] = ()
    external_task_id: str = ""
    callback_url: str = ""
    idempotency: tuple[str, bytes] | None = None
    key_id: int | None = None
    owner: int | None = None
    kind: TaskKind = "omni-image"
    options: RequestOptions = NO_OPTIONS
    low: bool = False


def accept_rows(tasks: Sequence[NewTask]) -> str:
    """Return the argument of accept_tasks: a JSON array of objects. The field `ordinal` is the object's index.

    The objects have the SQL type `accept_row`, which migration 0005 creates and later migrations extend.
    """
    return pydantic_core.to_json([_row(task, ordinal) for ordinal, task in enumerate(tasks)]).decode()


def _row(task: NewTask, ordinal: int) -> dict[str, object]:
    key, body_hash = task.idempotency or (None, None)
    references = [
        *((None, reference) for reference in task.references),
        *((index, image) for index, element in enumerate(task.elements) for image in element.images),
    ]
    return {
        "ordinal": ordinal,
        "task_id": str(task.task_id),
        "account_id": task.account_id,
        "key_id": task.key_id,
        "external_task_id": task.external_task_id or None,
        "idempotency_key": key,
        "body_hash": None if body_hash is None else "\\x" + body_hash.hex(),
        "kind": task.kind,
        "options": options_json(task.options),
        "model": task.model,
        "prompt": task.prompt,
        "elements": [element.id for element in task.elements],
        "result_type": task.result_type,
        "image_count": len(task.shots),
        "resolution": task.resolution,
        "ratio": task.ratio,
        "watermark": task.watermark,
        "callback_url": task.callback_url or None,
        "owner": task.owner,
        "units": task.units,
        "low": task.low,
        "shot_cost": shot_cost(task.resolution),
        "shots": [{"index": s.index, "prompt": s.prompt, "framing": s.framing, "seed": s.seed} for s in task.shots],
        "batches": task.batches,
        "task_elements": [
            {
                "index": index,
                "element_id": element.id,
                "owned": element.owned_by != PRESET_OWNER,
                "name": element.name,
                "description": element.description,
            }
            for index, element in enumerate(task.elements)
        ],
        "task_references": [
            reference_columns(reference)
            | {"index": index, "element": element, "field": reference.field or None, "role": reference.role}
            for index, (element, reference) in enumerate(references)
        ],
    }


def options_json(options: RequestOptions) -> dict[str, object]:
    """Return the options as the JSON object that the database stores. Fields with their default value are omitted."""
    return {name: value for name, value in asdict(options).items() if value not in ("", None)}


def options_from_json(stored: dict[str, Any]) -> RequestOptions:
    """Return the options that a stored JSON object contains."""
    expansion, size = stored.get("expansion"), stored.get("size")
    read = {"expansion": Expansion(**expansion) if expansion else None, "size": Size(*size) if size else None}
    return RequestOptions(**(stored | read))
