"""Choose the routes that are tried for a batch, and determine the outcome of the batch.

The rules are implemented as a generator function that does no I/O. The generator yields the name of the next route to
try, and then receives the result of trying this route. At the end, the generator returns the outcome of the batch.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from framehouse.domain.errors import Declined, Failed, Postponed, Unavailable, Unknown
from framehouse.domain.outcome import MAY_BE_PAID, Done, Fail, HandOver, Outcome, Postpone, Retry, Wait

RouteControl = Literal["paused", "draining"]
"""A state that an operator has set for a route.

If a route is `paused`, its batches wait until an operator resumes the route. If a route is `draining`, its batches use
the next route of the model. In both states, workers continue to process batches with an open order at the route.
"""
DRAINED_PAUSE_S = 15.0
"""The time in seconds for which a batch is postponed if only draining routes can generate the batch."""


@dataclass(frozen=True, slots=True)
class RouteState:
    """The state of a configured route for one batch.

    `max_references` is the maximum number of references and elements that the route's engine accepts. `expansions` is
    true if the engine can expand images. `masked_references` is the maximum number of references and elements of a task
    with a mask, or 0 if the engine cannot use masks. `served` is true if this worker serves the route. `given_up` is
    the reason why the route is excluded for the batch, or empty if the route is not excluded. `control` is the state
    that an operator has set for the route, or None.
    """

    name: str
    max_references: int
    expansions: bool = True
    masked_references: int = 1
    served: bool = True
    given_up: str = ""
    control: RouteControl | None = None


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The route has reached its maximum number of requests per minute.

    The next call is possible after `after_s` seconds.
    """

    after_s: float


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The result of trying a route. If `error` is None, every shot is saved or the worker has lost its claim.

    `error` is `LimitReached` if the request limit of the route prevented a call. `open_order` is true if the batch has
    an open order at the route after the route was tried. `given_up` is true if the route is now excluded for the batch.
    """

    error: Failed | Postponed | LimitReached | None = None
    open_order: bool = False
    given_up: bool = False


def choose_routes(
    routes: Sequence[RouteState],
    *,
    model: str,
    references: int,
    expansion: bool = False,
    masked: bool = False,
    order_at: str | None = None,
    resume_at: str = "",
    last_error: str = "",
) -> Generator[str, RouteResult, Outcome]:
    """Try the routes of a model in order until a route generates the batch.

    `references` is the number of references and elements. `expansion` is true if the first reference must be expanded.
    This reference does not count towards the maximum number of references. `masked` is true if the batch has a mask.
    The mask itself is not a reference.

    `order_at` is the route with an open order, or None. This route is tried first, and no other route is tried while
    the order is open. `resume_at` is the route to which another worker has handed the batch over after trying the
    earlier routes. If there is no open order and `resume_at` is empty or unknown, the first route is tried first.
    `last_error` is the error of the batch's previous attempt.

    If a route has reached its request limit, the batch waits for this route. The batch also waits for a paused route,
    unless an earlier route may be able to generate the batch later. In this case, the paused route is skipped. A
    draining route is always skipped. If only draining routes can generate the batch, the batch is postponed. The route
    with the open order is tried even if it is paused or draining.
    """
    places = {route.name: place for place, route in enumerate(routes)}
    if order_at is not None and order_at not in places:
        return Retry(f'route "{order_at}" has an open order for this task but is no longer configured', open_order=True)
    start = places.get(resume_at if order_at is None else order_at, 0)
    problems = [_problem(route, model, references, expansion=expansion, masked=masked) for route in routes]
    if order_at is not None and problems[start]:
        return Fail(problems[start])
    earlier_usable = not all(problems[:start])
    retry = Retry(last_error or "no engine is available") if earlier_usable and order_at is None else None
    fail = Fail(next((problem for problem in reversed(problems[:start]) if problem), "no engine is configured"))
    drained = False
    for route, problem in zip(routes[start:], problems[start:], strict=True):
        if problem:
            fail = Fail(problem)
            continue
        control = route.control if route.name != order_at else None
        if control == "draining" or (control == "paused" and retry):
            drained = True
            continue
        hand_over = HandOver(route.name, retry.reason if retry else "")
        if control == "paused" or not route.served:
            return hand_over
        result = yield route.name
        match result.error:
            case None:
                return Done()
            case LimitReached(after_s):
                return Wait(route.name, after_s)
            case Postponed(after_s=after_s):
                return Postpone(after_s)
            case Unavailable() | Unknown() as error if result.open_order:
                return Retry(error.message, open_order=True)
            case Unavailable() as error if result.given_up:
                fail = Fail(error.message)
            case Unavailable() as error:
                retry = Retry(error.message)
            case Unknown() as error:
                return Fail(
                    f"{error.message} (the upstream may have accepted the request, but its response was lost; "
                    f"the request {MAY_BE_PAID})"
                )
            case error:
                return Fail(error.message, declined=isinstance(error, Declined))
    # If the batch had an open order at the start, the routes before the order's route were skipped. If one of them is
    # usable, the batch is retried and the task does not fail.
    if retry is None and earlier_usable:
        return Retry(last_error or fail.reason)
    if retry is None and drained:
        return Postpone(DRAINED_PAUSE_S)
    return retry or fail


BatchFilter = Literal["all", "with_order", "without_order"]
"""The batches of a route that a worker may claim: all batches, or only batches with or without an open order."""


def claimable_routes(
    routes: Sequence[str], served: Collection[str], controls: Mapping[str, RouteControl]
) -> dict[str, BatchFilter]:
    """Return the routes for which a worker may claim batches, and the batches that it may claim.

    `routes` contains the names of all routes of a model in order, and `served` the names of the routes that the worker
    serves. The result contains the served routes. If a route is paused, or if it and all later routes are draining, its
    batches must wait, so only batches with an open order may be claimed. If a route is draining and the worker serves a
    later route that is not draining, the worker may also claim the batches of the draining route that have no open
    order, because these batches use the later route.
    """
    result: dict[str, BatchFilter] = {}
    followed = followed_by_served = False
    for name in reversed(routes):
        control = controls.get(name)
        if name in served:
            waits = control == "paused" or (control == "draining" and not followed)
            result[name] = "with_order" if waits else "all"
        elif control == "draining" and followed_by_served:
            result[name] = "without_order"
        if control != "draining":
            followed = True
            followed_by_served = followed_by_served or name in served
    return result


def _problem(route: RouteState, model: str, references: int, *, expansion: bool, masked: bool) -> str:
    """Return the reason why a route can never generate the batch, or an empty string if the route can generate it."""
    if route.given_up:
        return route.given_up
    if expansion and not route.expansions:
        return f"{route.name} cannot expand images"
    if masked and not route.masked_references:
        return f"{route.name} cannot use a mask"
    limit = route.masked_references if masked else route.max_references
    if references - expansion > limit:
        plural = "" if limit == 1 else "s"
        together = " together with a mask" if masked else ""
        return f"{model} accepts at most {limit} reference{plural}{together}, but {references} were sent"
    return ""
