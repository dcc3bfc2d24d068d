"""Plan the shots of a request: their number, their aspect ratio and their prompts.

The plan needs no I/O, so that `series_amount: auto` is resolved while the task is accepted.
"""

from dataclasses import dataclass

from framehouse.domain.aspect_ratio import ratio_of_request
from framehouse.domain.prompt import listed_shots, requested_images
from framehouse.domain.request import SERIES_AMOUNT
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.task import ImageRequest

DEFAULT_SERIES_AMOUNT = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """The shots of a task, its aspect ratio and its batches.

    `ratio` stays `auto` if a reference decides. `batches` contains the shot indexes of each engine call.
    """

    shots: tuple[Shot, ...]
    ratio: str
    batches: tuple[tuple[int, ...], ...]


def make_plan(request: ImageRequest, *, seed: int, max_batch: int, whole_series: bool = False) -> Plan:
    """Plan the shots and the batches of a request.

    The same request and seed always give the same shots, so planning a request twice does no harm. The seed of a shot
    is the task's seed plus the shot's index, so that a client can generate a single image again with its own seed. A
    batch has at most `max_batch` shots; with `whole_series`, one batch has all shots of a series.
    """
    count = _count(request)
    shots = tuple(_make_shots(request, count, seed))
    if whole_series and request.result_type == "series":
        max_batch = count
    batches = tuple(tuple(range(start, min(start + max_batch, count))) for start in range(0, count, max_batch))
    return Plan(shots, ratio_of_request(request), batches)


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
            own = listed.shots[index % len(listed.shots)]  # repeats the list if it is shorter than `count`
            prompt = " ".join(part for part in (listed.shared, own) if part) or prompt
        framing = FRAMINGS[index % len(FRAMINGS)] if request.result_type == "series" else ""
        shots.append(Shot(index, prompt, framing, seed + index))
    return shots
