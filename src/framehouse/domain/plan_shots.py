"""Plan the shots of a request: their number, their aspect ratio and their prompts.

Planning does no I/O. The API can therefore choose the number of images for `series_amount: auto` when it accepts the
task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framehouse.domain.aspect_ratio import ratio_of_request
from framehouse.domain.mask import split_mask
from framehouse.domain.prompt import listed_shots, requested_images
from framehouse.domain.reference import ReferenceRole
from framehouse.domain.request import SERIES_AMOUNT
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.task import ImageRequest

DEFAULT_SERIES_AMOUNT = 4
_INSTRUCTIONS: Mapping[ReferenceRole, str] = {
    "subject": "Subject: {}.",
    "face": "The person has the face of {}.",
    "scene": "Place: the scene of {}.",
    "style": "Style: the style of {}.",
    "human": "Show the person of {} in the same pose and place.",
    "cloth": "The person wears the clothes of {}.",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The shots, the aspect ratio and the batches of a task.

    `ratio` is `auto` if the aspect ratio depends on the size of a reference. `batches` contains the shot indexes of
    each batch.
    """

    shots: tuple[Shot, ...]
    ratio: str
    batches: tuple[tuple[int, ...], ...]


def make_plan(request: ImageRequest, *, seed: int, max_batch: int, whole_series: bool = False) -> Plan:
    """Plan the shots and the batches of a request.

    The same request and seed always result in the same shots. The seed of a shot is the sum of the task's seed and the
    shot's index. A client can therefore use the seed of an image to generate this image again. A batch contains at
    most `max_batch` shots. If `whole_series` is true, one batch contains all shots of a series.
    """
    count = _count(request)
    shots = tuple(_make_shots(request, count, seed))
    series = request.result_type == "series"
    batches = make_batches(range(count), max_batch=max_batch, whole=whole_series and series)
    return Plan(shots, ratio_of_request(request), batches)


def make_batches(indexes: Sequence[int], *, max_batch: int, whole: bool = False) -> tuple[tuple[int, ...], ...]:
    """Divide shot indexes into batches of at most `max_batch` shots. If `whole` is true, there is only one batch."""
    size = len(indexes) if whole else max_batch
    return tuple(tuple(indexes[start : start + size]) for start in range(0, len(indexes), size))


def _count(request: ImageRequest) -> int:
    if request.amount is not None:
        return request.amount
    low, high = SERIES_AMOUNT
    amount = requested_images(request.prompt)
    if amount is None:
        listed = listed_shots(request.prompt)
        amount = len(listed.shots) if listed else DEFAULT_SERIES_AMOUNT
    return max(low, min(high, amount))


def _make_shots(request: ImageRequest, count: int, seed: int) -> list[Shot]:
    listed = listed_shots(request.prompt) if count > 1 else None
    shots = []
    for index in range(count):
        prompt = request.prompt
        if listed:
            own = listed.shots[index % len(listed.shots)]  # a list with fewer than `count` shots is repeated
            prompt = " ".join(part for part in (listed.shared, own) if part) or prompt
        prompt = with_instructions(request, prompt)
        framing = FRAMINGS[index % len(FRAMINGS)] if request.result_type == "series" else ""
        shots.append(Shot(index, prompt, framing, seed + index))
    return shots


def with_instructions(request: ImageRequest, prompt: str) -> str:
    """Return a prompt with added sentences that describe the roles of the request's references.

    In these sentences, `<<<image_2>>>` cites the second reference of the request.
    """
    cited: dict[ReferenceRole, list[str]] = {}
    for number, sent in enumerate(split_mask(request.images)[0], 1):
        cited.setdefault(sent.role, []).append(f"<<<image_{number}>>>")
    sentences = [text.format(" and ".join(cited[role])) for role, text in _INSTRUCTIONS.items() if role in cited]
    if request.kind == "expand" and not prompt:
        sentences.append("Continue the scene beyond the edges of the image.")
    end = "" if not prompt or prompt.endswith((".", "!", "?", "。", "！", "？", "…")) else "."
    return " ".join([*([prompt + end] if sentences and prompt else [prompt] if prompt else []), *sentences])
