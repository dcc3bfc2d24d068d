"""The routes that are tried and the outcome, in all cases of one and two routes and in random cases of three."""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.outcome import Done, Fail, HandOver, Outcome, Postpone, Retry, Wait
from framehouse.domain.routing import (
    DRAINED_PAUSE_S,
    LimitReached,
    RouteControl,
    RouteResult,
    RouteState,
    choose_routes,
    claimable_routes,
)

GENERATED = RouteResult()
UNAVAILABLE = RouteResult(Unavailable("unavailable"))
GIVEN_UP = RouteResult(Unavailable("never again"), given_up=True)
ORDER_PENDING = RouteResult(Unavailable("still working"), open_order=True)
DECLINED = RouteResult(Declined("no"))
BAD_ANSWER = RouteResult(Broken("bad answer"))
ANSWER_LOST = RouteResult(Unknown("lost"))
ORDER_LOST = RouteResult(Unknown("lost"), open_order=True)
RESULTS = (GENERATED, UNAVAILABLE, GIVEN_UP, ORDER_PENDING, DECLINED, BAD_ANSWER, ANSWER_LOST, ORDER_LOST)
CONTINUES = (UNAVAILABLE, GIVEN_UP)
FINAL = {
    GENERATED: Done(),
    ORDER_PENDING: Retry("still working", open_order=True),
    DECLINED: Fail("no", declined=True),
    BAD_ANSWER: Fail("bad answer"),
    ANSWER_LOST: Fail(
        "lost (the upstream may have accepted the request, but its response was lost; the request is not sent again)"
    ),
    ORDER_LOST: Retry("lost", open_order=True),
}


def route(
    name: str, *, served: bool = True, takes: int = 10, given_up: str = "", control: RouteControl | None = None
) -> RouteState:
    return RouteState(name, takes, served=served, given_up=given_up, control=control)


def choose(
    routes: list[RouteState],
    results: dict[str, RouteResult],
    *,
    references: int = 1,
    order_at: str | None = None,
    resume_at: str = "",
    last_error: str = "",
) -> tuple[list[str], Outcome]:
    """Return the routes that were tried, in order, and the outcome."""
    steps = choose_routes(
        routes, model="m", references=references, order_at=order_at, resume_at=resume_at, last_error=last_error
    )
    tried: list[str] = []
    try:
        name = next(steps)
        while True:
            tried.append(name)
            name = steps.send(results[name])
    except StopIteration as end:
        outcome: Outcome = end.value
        return tried, outcome


@pytest.mark.parametrize("result", RESULTS)
def test_the_outcome_with_one_route(result: RouteResult) -> None:
    tried, outcome = choose([route("a")], {"a": result})
    assert tried == ["a"]
    assert outcome == FINAL.get(result) or (result, outcome) in (
        (UNAVAILABLE, Retry("unavailable")),
        (GIVEN_UP, Fail("never again")),
    )


@pytest.mark.parametrize("second", RESULTS)
@pytest.mark.parametrize("first", RESULTS)
def test_the_outcome_with_two_served_routes(first: RouteResult, second: RouteResult) -> None:
    tried, outcome = choose([route("a"), route("b")], {"a": first, "b": second})
    if first not in CONTINUES:
        assert (tried, outcome) == (["a"], FINAL[first])
        return
    assert tried == ["a", "b"], "the next route was not tried after an unavailable route"
    if second not in CONTINUES:
        assert outcome == FINAL[second]
    elif UNAVAILABLE in (first, second):
        assert outcome == Retry("unavailable"), "no retry, although one of the routes may generate the batch later"
    else:
        assert outcome == Fail("never again")


def test_a_model_without_routes_fails() -> None:
    assert choose([], {}) == ([], Fail("no engine is configured"))


def test_a_batch_is_handed_over_if_another_worker_serves_the_next_route() -> None:
    routes = [route("a"), route("b", served=False)]
    assert choose(routes, {"a": UNAVAILABLE}) == (["a"], HandOver("b", "unavailable"))
    assert choose(routes, {"a": GENERATED}) == (["a"], Done())


def test_a_route_that_cannot_generate_the_batch_is_skipped_without_an_error() -> None:
    routes = [route("a", takes=0), route("b", served=False)]
    assert choose(routes, {}) == ([], HandOver("b", ""))
    assert choose([route("a", given_up="gone"), route("b", served=False)], {}) == ([], HandOver("b", ""))


def test_a_batch_fails_if_it_has_more_references_than_every_route_takes() -> None:
    _, outcome = choose([route("a", takes=1), route("b", takes=2)], {}, references=3)
    assert outcome == Fail("m accepts at most 2 references, but 3 were sent")


def test_the_original_of_an_expansion_does_not_count_as_a_reference() -> None:
    text_only = RouteState("a", 0, expansions=True)
    assert next(choose_routes([text_only], model="m", references=1, expansion=True)) == "a"
    unable = [RouteState("a", 10, expansions=False), RouteState("b", 0, expansions=True)]
    assert next(choose_routes(unable, model="m", references=1, expansion=True)) == "b"


def test_a_batch_resumes_at_the_route_to_which_it_was_handed_over() -> None:
    routes = [route("a"), route("b")]
    assert choose(routes, {"b": GENERATED}, resume_at="b") == (["b"], Done())
    assert choose(routes, {"b": UNAVAILABLE}, resume_at="b", last_error="a is unavailable") == (
        ["b"],
        Retry("unavailable"),
    )
    assert choose(routes, {"b": GIVEN_UP}, resume_at="b", last_error="a is unavailable") == (
        ["b"],
        Retry("a is unavailable"),
    )
    assert choose(routes, {"a": GENERATED}, resume_at="removed") == (["a"], Done())


def test_a_second_handover_keeps_the_last_error() -> None:
    routes = [route("a"), route("b", takes=0), route("c", served=False)]
    assert choose(routes, {}, resume_at="b", last_error="a is unavailable") == ([], HandOver("c", "a is unavailable"))


def test_only_the_route_of_an_open_order_is_tried() -> None:
    routes = [route("a"), route("b"), route("c")]
    assert choose(routes, {"b": GENERATED}, order_at="b") == (["b"], Done())
    assert choose(routes, {"b": ORDER_PENDING}, order_at="b") == (["b"], Retry("still working", open_order=True))
    assert choose([route("a"), route("b", served=False)], {}, order_at="b") == ([], HandOver("b"))


def test_an_open_order_of_a_removed_route_waits_for_its_return() -> None:
    tried, outcome = choose([route("a")], {}, order_at="old")
    assert tried == []
    assert isinstance(outcome, Retry)
    assert outcome.open_order
    assert '"old"' in outcome.reason


def test_after_an_order_is_given_up_the_later_routes_are_tried_now_and_the_earlier_routes_on_retry() -> None:
    routes = [route("a"), route("b"), route("c")]
    assert choose(routes, {"b": GIVEN_UP, "c": GENERATED}, order_at="b") == (["b", "c"], Done())
    results = {"b": GIVEN_UP, "c": GIVEN_UP}
    assert choose(routes, results, order_at="b", last_error="a is unavailable") == (
        ["b", "c"],
        Retry("a is unavailable"),
    )
    assert choose(routes, results, order_at="b") == (["b", "c"], Retry("never again"))
    unusable = [route("a", takes=0), *routes[1:]]
    assert choose(unusable, results, order_at="b") == (["b", "c"], Fail("never again"))


class Earlier(NamedTuple):
    """The results of earlier attempts."""

    order_at: str | None
    resume_at: str
    last_error: str


@pytest.mark.parametrize("results", [{}, {"b": GENERATED}])
def test_a_batch_waits_for_a_paused_first_route(results: dict[str, RouteResult]) -> None:
    assert choose([route("a", control="paused"), route("b")], results) == ([], HandOver("a"))


def test_a_paused_route_does_not_keep_a_batch_that_an_earlier_route_may_generate_later() -> None:
    tried = choose([route("a"), route("b", control="paused")], {"a": UNAVAILABLE})
    assert tried == (["a"], Retry("unavailable"))
    tried = choose([route("a"), route("b", control="paused"), route("c")], {"a": UNAVAILABLE, "c": GENERATED})
    assert tried == (["a", "c"], Done())


def test_a_batch_waits_for_a_paused_route_if_no_earlier_route_can_generate_it() -> None:
    assert choose([route("a", takes=0), route("b", control="paused")], {}) == ([], HandOver("b"))
    assert choose([route("a"), route("b", control="paused")], {"a": GIVEN_UP}) == (["a"], HandOver("b"))


def test_a_draining_route_is_skipped() -> None:
    assert choose([route("a", control="draining"), route("b")], {"b": GENERATED}) == (["b"], Done())
    assert choose([route("a", control="draining"), route("b", served=False)], {}) == ([], HandOver("b"))
    assert choose([route("a", control="draining"), route("b")], {"b": UNAVAILABLE}) == (["b"], Retry("unavailable"))


def test_a_batch_is_postponed_if_only_draining_routes_can_generate_it() -> None:
    postponed: tuple[list[str], Outcome] = ([], Postpone(DRAINED_PAUSE_S))
    assert choose([route("a", control="draining")], {}) == postponed
    assert choose([route("a", control="draining"), route("b", takes=0)], {}) == postponed
    assert choose([route("a", control="draining"), route("b", control="draining")], {}) == postponed
    assert choose([route("a", control="draining"), route("b")], {"b": GIVEN_UP}) == (["b"], Postpone(DRAINED_PAUSE_S))


@pytest.mark.parametrize("control", ["paused", "draining"])
def test_an_open_order_is_continued_at_a_paused_or_draining_route(control: RouteControl) -> None:
    routes = [route("a"), route("b", control=control)]
    assert choose(routes, {"b": GENERATED}, order_at="b") == (["b"], Done())
    assert choose(routes, {"b": ORDER_PENDING}, order_at="b") == (["b"], FINAL[ORDER_PENDING])


def test_a_batch_waits_for_a_route_that_has_reached_its_request_limit() -> None:
    limited = RouteResult(LimitReached(7))
    assert choose([route("a"), route("b")], {"a": limited, "b": GENERATED}) == (["a"], Wait("a", 7))
    tried = choose([route("a"), route("b")], {"a": UNAVAILABLE, "b": limited})
    assert tried == (["a", "b"], Wait("b", 7)), "waiting for a route is not a failure"


ALL, WITH, WITHOUT = "all", "with_order", "without_order"


@pytest.mark.parametrize(
    ("controls", "served", "claimable"),
    [
        ({}, "abc", {"a": ALL, "b": ALL, "c": ALL}),
        ({"a": "paused"}, "abc", {"a": WITH, "b": ALL, "c": ALL}),
        ({"a": "draining"}, "abc", {"a": ALL, "b": ALL, "c": ALL}),
        ({"c": "draining"}, "abc", {"a": ALL, "b": ALL, "c": WITH}),
        ({"b": "draining", "c": "draining"}, "abc", {"a": ALL, "b": WITH, "c": WITH}),
        ({"a": "draining", "b": "draining", "c": "draining"}, "abc", {"a": WITH, "b": WITH, "c": WITH}),
        ({"b": "draining", "c": "paused"}, "abc", {"a": ALL, "b": ALL, "c": WITH}),
        ({"gone": "paused"}, "abc", {"a": ALL, "b": ALL, "c": ALL}),
        ({}, "b", {"b": ALL}),
        ({"a": "draining"}, "b", {"a": WITHOUT, "b": ALL}),
        ({"a": "draining"}, "c", {"a": WITHOUT, "c": ALL}),
        ({"a": "paused"}, "b", {"b": ALL}),
        ({"a": "draining", "b": "draining"}, "b", {"b": ALL}),
        ({"a": "draining", "b": "draining"}, "bc", {"a": WITHOUT, "b": ALL, "c": ALL}),
        ({"b": "draining"}, "a", {"a": ALL}),
        ({"b": "draining", "c": "paused"}, "c", {"b": WITHOUT, "c": WITH}),
    ],
)
def test_the_batches_that_a_worker_may_claim(
    controls: dict[str, RouteControl], served: str, claimable: dict[str, str]
) -> None:
    assert claimable_routes(["a", "b", "c"], served, controls) == claimable


def _random_cases(count: int) -> Iterator[tuple[list[RouteState], dict[str, RouteResult], Earlier]]:
    rng = random.Random(16)
    for _ in range(count):
        names = ["a", "b", "c"]
        routes = [
            route(
                n,
                served=rng.random() < 0.7,
                takes=rng.choice((0, 1, 10)),
                given_up=rng.choice(("", "", "gone")),
                control=rng.choice((None, None, None, "paused", "draining")),
            )
            for n in names
        ]
        earlier = Earlier(rng.choice((None, None, *names)), rng.choice(("", *names)), rng.choice(("", "earlier")))
        yield routes, {name: rng.choice(RESULTS) for name in names}, earlier


def test_random_cases_of_three_routes_follow_the_rules() -> None:
    for routes, results, earlier in _random_cases(5000):
        tried, outcome = choose(routes, results, **earlier._asdict())
        by_name = {r.name: r for r in routes}
        usable = {r.name for r in routes if not r.given_up and r.max_references >= 1}
        positions = [routes.index(by_name[name]) for name in tried]
        assert positions == sorted(set(positions)), "a route was tried twice or out of order"
        assert all(by_name[name].served and name in usable for name in tried)
        assert all(not by_name[name].control or name == earlier.order_at for name in tried)
        assert all(results[name] in CONTINUES for name in tried[:-1]), "a route was tried after a final result"
        order_at = earlier.order_at
        if order_at and tried:
            assert tried[0] == order_at, "the route of the open order was not tried first"
        if tried and results[tried[-1]] not in CONTINUES:
            assert outcome == FINAL[results[tried[-1]]]
        elif isinstance(outcome, HandOver):
            assert outcome.route in usable
            assert not by_name[outcome.route].served or by_name[outcome.route].control == "paused"
        elif isinstance(outcome, Fail) and not (order_at and order_at not in usable):
            given_up = {name for name in tried if results[name] == GIVEN_UP}
            assert usable <= given_up, "the batch failed, although a route may still generate it"


def test_the_random_cases_reach_every_outcome() -> None:
    kinds = {type(choose(routes, results, **earlier._asdict())[1]) for routes, results, earlier in _random_cases(500)}
    assert kinds == {Done, Retry, Fail, HandOver, Postpone}


def test_two_routes_in_every_state_end_in_an_outcome() -> None:
    states = [route("x", served=s, takes=t, given_up=g) for s in (True, False) for t in (0, 10) for g in ("", "gone")]
    pairs = itertools.product(states, states, RESULTS, RESULTS, (None, "a", "b"), ("", "a", "b"))
    for a, b, first, second, order_at, resume_at in pairs:
        routes = [
            RouteState("a", a.max_references, served=a.served, given_up=a.given_up),
            RouteState("b", b.max_references, served=b.served, given_up=b.given_up),
        ]
        tried, outcome = choose(routes, {"a": first, "b": second}, order_at=order_at, resume_at=resume_at)
        assert len(tried) <= 2
        assert isinstance(outcome, Done | Retry | Fail | HandOver)
        if isinstance(outcome, Done):
            assert GENERATED in {"a": first, "b": second}.values()
