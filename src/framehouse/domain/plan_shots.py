"""Request -> shots: how many, which shape, which words. Pure and instant, so that `auto` has its number at once."""

from dataclasses import dataclass

from framehouse.domain.aspect_ratio import ratio_of_request
from framehouse.domain.prompt import listed_shots, requested_images
from framehouse.domain.request import SERIES_AMOUNT
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.task import ImageRequest

DEFAULT_SERIES_AMOUNT = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """The shots of a task, its shape and its batches.

    `ratio` stays `auto` where the shape of a reference decides;
    `batches` are the shot indexes of each engine call.
    """

    shots: tuple[Shot, ...]
    ratio: str
    batches: tuple[tuple[int, ...], ...]


def make_plan(request: ImageRequest, *, seed: int, max_batch: int, whole_series: bool = False) -> Plan:
    """Split a request into the pictures to be made.

    The same request and seed always give the same shots, so planning twice does no harm. Seeds count up
    from the task's: a caller who liked the third picture can ask for it again by its own seed. A batch has at most
    `max_batch` shots; with `whole_series` one has all of a series.
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
    asked = requested_images(request.prompt)
    if asked is None:
        listed = listed_shots(request.prompt)
        asked = len(listed.shots) if listed else DEFAULT_SERIES_AMOUNT
    return max(low, min(high, asked))


def _make_shots(request: ImageRequest, count: int, seed: int) -> list[Shot]:
    listed = listed_shots(request.prompt) if count > 1 else None
    shots = []
    for index in range(count):
        prompt = request.prompt
        if listed:
            own = listed.shots[index % len(listed.shots)]  # more pictures than shots: the list goes round
            prompt = " ".join(part for part in (listed.shared, own) if part) or prompt
        framing = FRAMINGS[index % len(FRAMINGS)] if request.result_type == "series" else ""
        shots.append(Shot(index, prompt, framing, seed + index))
    return shots
