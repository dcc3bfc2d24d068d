"""Split a batch into orders, convert orders to and from the saved data, and build the request for an order."""

import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS, listed_shots, prompt_parts
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import ratio_and_resolution
from framehouse.domain.task_kind import TaskKind
from framehouse.engines.arrange import arrange_images, build_prompt
from framehouse.engines.interface import Batch, ReferenceImage
from framehouse.engines.plain_file import plain_file

MAX_IMAGES = 10
_ID_NAMESPACE = uuid.UUID("b35d9f3c-6f0e-4f57-9a0c-52d1f4f0a7d1")


@dataclass(frozen=True, slots=True)
class Order:
    """One order for an upstream. The order becomes one task at the upstream.

    `shots` contains the indexes of our shots, in the order in which the upstream returns their images. `external_id` is
    our id for the order and never changes. `kind` determines the endpoint of the upstream. `account` is set before the
    order is sent. `task_id` is the upstream's id for the task. `task_id` is set after the upstream has confirmed that
    it accepted the order.
    """

    external_id: str
    shots: tuple[int, ...]
    series: bool = False
    account: str = ""
    task_id: str = ""
    kind: TaskKind = "omni-image"

    @property
    def images(self) -> int:
        """The number of images in the order. These images count towards the concurrency limit of the account."""
        return len(self.shots)


def plan_orders(batch: Batch, saved: Iterable[Order], *, largest: int) -> list[Order]:
    """Return orders for those shots of a batch that no saved order contains.

    The complete task becomes one order if both of the following conditions are met:

    - The task is a series, or has at most `largest` images.
    - No shot of the task has been generated, and no shot of the task is in a saved order.

    This order contains the prompt of the task, because the upstream derives the shots from the prompt in the same way
    as Framehouse. If a condition is not met, each order contains at most `largest` shots, which have the same prompt
    and framing.

    The external id of an order depends only on the task and the shots. Two workers that order the same shots therefore
    send the same external id.
    """
    ordered = {index for order in saved for index in order.shots}
    shots = [shot for shot in batch.shots if shot.index not in ordered]
    if len(shots) == batch.image_count and (batch.series or len(shots) <= largest):
        return [_order(batch, shots, series=batch.series)]
    groups = [list(group) for _, group in groupby(shots, lambda shot: (shot.prompt, shot.framing))]
    return [
        _order(batch, group[start : start + largest], series=False)
        for group in groups
        for start in range(0, len(group), largest)
    ]


def _order(batch: Batch, shots: Sequence[Shot], *, series: bool) -> Order:
    indexes = tuple(shot.index for shot in shots)
    return Order(f"fh-{uuid.uuid5(_ID_NAMESPACE, f'{batch.task_id}:{indexes}')}", indexes, series, kind=batch.kind)


def data_from_orders(orders: Iterable[Order]) -> dict[str, Any]:
    """Convert the orders to the JSON data that is saved as `OpenOrder.data`. The data is empty if there are no orders.

    The data of an omni-image order does not contain the field `kind`. Workers of an older release that does not know
    this field can therefore continue these orders.
    """
    entries = [
        {
            "external_id": order.external_id,
            "shots": list(order.shots),
            "series": order.series,
            "account": order.account,
            "task_id": order.task_id,
        }
        | ({} if order.kind == "omni-image" else {"kind": order.kind})
        for order in orders
    ]
    return {"orders": entries} if entries else {}


def orders_from_data(data: Mapping[str, Any]) -> list[Order]:
    """Return the orders that were saved as `OpenOrder.data`."""
    return [Order(**(order | {"shots": tuple(order["shots"])})) for order in data.get("orders", [])]


def request_body(
    order: Order, batch: Batch, *, model: str, callback_url: str | None, convert_colours: bool
) -> dict[str, Any]:
    """Return the JSON body of the request that places an order. Blocks the calling thread.

    If `convert_colours` is true, images with a colour profile other than sRGB are converted.
    """
    batch = _with_plain_files(batch, convert_colours=convert_colours)
    body = {"external_task_id": order.external_id, **_BODIES[order.kind](order, batch)}
    # Kling's endpoint for expansions has no field `model_name`, so an expansion contains this field only if the option
    # `model` of the route is set.
    if model or order.kind != "expand":
        body["model_name"] = model or batch.model
    if callback_url:
        body["callback_url"] = callback_url
    return body


def _with_plain_files(batch: Batch, *, convert_colours: bool) -> Batch:
    """Return the batch with images that every upstream accepts."""

    def plain(image: ReferenceImage) -> ReferenceImage:
        return replace(image, content=plain_file(image.content, convert_colours=convert_colours))

    return replace(
        batch,
        references=tuple(map(plain, batch.references)),
        elements=tuple(replace(element, images=tuple(map(plain, element.images))) for element in batch.elements),
        first_frame=batch.first_frame and plain(batch.first_frame),
    )


def _omni_image_body(order: Order, batch: Batch) -> dict[str, Any]:
    """Return the fields of an omni-image request.

    Elements are sent as images, because our elements do not exist at the upstream.
    """
    ratio, resolution = ratio_and_resolution(batch.size)
    whole = order.images == batch.image_count
    shot = next(shot for shot in batch.shots if shot.index == order.shots[0])
    if whole:
        shot = replace(shot, prompt=batch.prompt, framing="")
    first_frame = batch.first_frame.content if batch.first_frame and not whole else b""
    arranged = arrange_images(batch, max_images=MAX_IMAGES, cite="<<<image_{}>>>", first_frame=first_frame)
    body: dict[str, Any] = {
        "prompt": build_prompt(shot, batch, arranged)[:MAX_PROMPT_CHARACTERS],
        "resolution": resolution,
        "aspect_ratio": ratio,
        "result_type": "series" if order.series else "single",
    }
    body["series_amount" if order.series else "n"] = order.images
    if arranged.files:
        body["image_list"] = [{"image": b64encode(content).decode()} for content in arranged.files]
    return body


def _generation_body(order: Order, batch: Batch) -> dict[str, Any]:
    """Return the fields of a generations request.

    The upstream itself adds the roles of the references to the prompt, so the request contains the client's own prompt.
    If the prompt lists shots and the order contains only some of them, the request contains the prompt of the first
    ordered shot instead. A single reference is sent as a string, as documented by Kling. Several references are sent as
    a list, which Kling does not document. Elements are sent as references.
    """
    ratio, resolution = ratio_and_resolution(batch.size)
    shot = next(shot for shot in batch.shots if shot.index == order.shots[0])
    if order.images == batch.image_count or not listed_shots(batch.prompt):
        shot = replace(shot, prompt=batch.prompt, framing="")
    arranged = arrange_images(batch, max_images=MAX_IMAGES, cite="<<<image_{}>>>")
    body: dict[str, Any] = {
        "prompt": build_prompt(shot, batch, arranged)[:MAX_PROMPT_CHARACTERS],
        "resolution": resolution,
        "aspect_ratio": ratio,
        "n": order.images,
    }
    images = [b64encode(content).decode() for content in arranged.files]
    if images:
        body["image"] = images[0] if len(images) == 1 else images
    if role := next((reference.role for reference in batch.references if reference.role), ""):
        body["image_reference"] = role
    options = batch.options
    values = (options.negative_prompt, options.image_fidelity, options.human_fidelity)
    names = ("negative_prompt", "image_fidelity", "human_fidelity")
    return body | {name: value for name, value in zip(names, values, strict=True) if value not in ("", None)}


def _combination_body(order: Order, batch: Batch) -> dict[str, Any]:
    body = _prompt_of(batch) | {"aspect_ratio": ratio_and_resolution(batch.size)[0], "n": order.images}
    body["subject_image_list"] = [{"subject_image": image} for image in _images(batch, "subject")]
    for role in ("scene", "style"):
        if images := _images(batch, role):
            body[f"{role}_image"] = images[0]
    return body


def _expansion_body(order: Order, batch: Batch) -> dict[str, Any]:
    expansion = batch.options.expansion
    assert expansion is not None
    ratios = {f"{side}_expansion_ratio": ratio for side, ratio in asdict(expansion).items()}
    return _prompt_of(batch) | ratios | {"image": _images(batch, "original")[0], "n": order.images}


def _try_on_body(_order: Order, batch: Batch) -> dict[str, Any]:
    return {"human_image": _images(batch, "human")[0], "cloth_image": _images(batch, "cloth")[0]}


_BODIES: Mapping[TaskKind, Callable[[Order, Batch], dict[str, Any]]] = {
    "omni-image": _omni_image_body,
    "generations": _generation_body,
    "multi-image2image": _combination_body,
    "expand": _expansion_body,
    "try-on": _try_on_body,
}


def _images(batch: Batch, role: str) -> list[str]:
    """Return the files of the references with this role, encoded as base64."""
    return [b64encode(reference.content).decode() for reference in batch.references if reference.role == role]


def _prompt_of(batch: Batch) -> dict[str, Any]:
    """Return the field `prompt`: the client's own prompt, with its citations in the form that Kling documents."""
    parts = prompt_parts(batch.prompt, images=len(batch.references), elements=0)
    prompt = "".join(part if isinstance(part, str) else f"<<<image_{part.index + 1}>>>" for part in parts)
    return {"prompt": prompt[:MAX_PROMPT_CHARACTERS]} if prompt else {}
