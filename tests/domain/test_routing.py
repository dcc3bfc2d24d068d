"""All cases of one and two routes, and random cases of three: which routes are tried, and the outcome."""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.outcome import Done, Fail, HandOver, Outcome, Retry
from framehouse.domain.routing import RouteResult, RouteState, choose_routes

GENERATED = RouteResult()
AWAY = RouteResult(Unavailable("away"))
AWAY_FOR_GOOD = RouteResult(Unavailable("never again"), given_up=True)
ORDER_PENDING = RouteResult(Unavailable("still working"), open_order=True)
DECLINED = RouteResult(Declined("no"))
NONSENSE = RouteResult(Broken("nonsense"))
ANSWER_LOST = RouteResult(Unknown("lost"))
ORDER_LOST = RouteResult(Unknown("lost"), open_order=True)
RESULTS = (GENERATED, AWAY, AWAY_FOR_GOOD, ORDER_PENDING, DECLINED, NONSENSE, ANSWER_LOST, ORDER_LOST)
CONTINUES = (AWAY, AWAY_FOR_GOOD)
FINAL = {
    GENERATED: Done(),
    ORDER_PENDING: Retry("still working", open_order=True),
    DECLINED: Fail("no"),
    NONSENSE: Fail("nonsense"),
    ANSWER_LOST: Fail("lost (the answer to an accepted request was lost; the request is not sent again)"),
    ORDER_LOST: Retry("lost", open_order=True),
}


def route(name: str, *, served: bool = True, takes: int = 10, given_up: str = "") -> RouteState:
    return RouteState(name, takes, served=served, given_up=given_up)


def choose(
    routes: list[RouteState],
    results: dict[str, RouteResult],
    *,
    references: int = 1,
    order_at: str | None = None,
    resume_at: str = "",
    last_error: str = "",
) -> tuple[list[str], Outcome]:
    """The routes that were tried, in order, and the outcome."""
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
def test_one_route(result: RouteResult) -> None:
    tried, outcome = choose([route("a")], {"a": result})
    assert tried == ["a"]
    assert outcome == FINAL.get(result) or (result, outcome) in (
        (AWAY, Retry("away")),
        (AWAY_FOR_GOOD, Fail("never again")),
    )


@pytest.mark.parametrize("second", RESULTS)
@pytest.mark.parametrize("first", RESULTS)
def test_two_routes_that_are_both_served(first: RouteResult, second: RouteResult) -> None:
    tried, outcome = choose([route("a"), route("b")], {"a": first, "b": second})
    if first not in CONTINUES:
        assert (tried, outcome) == (["a"], FINAL[first])
        return
    assert tried == ["a", "b"], "unavailable goes to the next route"
    if second not in CONTINUES:
        assert outcome == FINAL[second]
    elif AWAY in (first, second):
        assert outcome == Retry("away"), "one of them may generate it later"
    else:
        assert outcome == Fail("never again")


def test_no_route_at_all() -> None:
    assert choose([], {}) == ([], Fail("no engine is configured"))


def test_the_next_route_belongs_to_another_worker() -> None:
    routes = [route("a"), route("b", served=False)]
    assert choose(routes, {"a": AWAY}) == (["a"], HandOver("b", "away"))
    assert choose(routes, {"a": GENERATED}) == (["a"], Done())


def test_a_route_that_cannot_take_it_is_no_error() -> None:
    routes = [route("a", takes=0), route("b", served=False)]
    assert choose(routes, {}) == ([], HandOver("b", ""))
    assert choose([route("a", given_up="gone"), route("b", served=False)], {}) == ([], HandOver("b", ""))


def test_no_route_takes_so_many_references() -> None:
    _, outcome = choose([route("a", takes=1), route("b", takes=2)], {}, references=3)
    assert outcome == Fail("m takes at most 2 references, 3 were sent")


def test_it_resumes_at_the_route_that_it_was_handed_over_to() -> None:
    routes = [route("a"), route("b")]
    assert choose(routes, {"b": GENERATED}, resume_at="b") == (["b"], Done())
    assert choose(routes, {"b": AWAY}, resume_at="b", last_error="a is away") == (["b"], Retry("away"))
    assert choose(routes, {"b": AWAY_FOR_GOOD}, resume_at="b", last_error="a is away") == (["b"], Retry("a is away"))
    assert choose(routes, {"a": GENERATED}, resume_at="removed") == (["a"], Done())


def test_handing_over_further_keeps_the_last_error() -> None:
    routes = [route("a"), route("b", takes=0), route("c", served=False)]
    assert choose(routes, {}, resume_at="b", last_error="a is away") == ([], HandOver("c", "a is away"))


def test_an_open_order_is_tried_alone() -> None:
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


def test_after_an_order_is_given_up_the_later_routes_are_tried_and_then_the_earlier_ones() -> None:
    routes = [route("a"), route("b"), route("c")]
    assert choose(routes, {"b": AWAY_FOR_GOOD, "c": GENERATED}, order_at="b") == (["b", "c"], Done())
    results = {"b": AWAY_FOR_GOOD, "c": AWAY_FOR_GOOD}
    assert choose(routes, results, order_at="b", last_error="a is away") == (["b", "c"], Retry("a is away"))
    assert choose(routes, results, order_at="b") == (["b", "c"], Retry("never again"))
    unusable = [route("a", takes=0), *routes[1:]]
    assert choose(unusable, results, order_at="b") == (["b", "c"], Fail("never again"))


class Before(NamedTuple):
    """What earlier attempts left."""

    order_at: str | None
    resume_at: str
    last_error: str


def _random_cases(count: int) -> Iterator[tuple[list[RouteState], dict[str, RouteResult], Before]]:
    rng = random.Random(16)
    for _ in range(count):
        names = ["a", "b", "c"]
        routes = [
            route(n, served=rng.random() < 0.7, takes=rng.choice((0, 1, 10)), given_up=rng.choice(("", "", "gone")))
            for n in names
        ]
        before = Before(rng.choice((None, None, *names)), rng.choice(("", *names)), rng.choice(("", "before")))
        yield routes, {name: rng.choice(RESULTS) for name in names}, before


def test_what_holds_in_every_case_of_three_routes() -> None:
    for routes, results, before in _random_cases(5000):
        tried, outcome = choose(routes, results, **before._asdict())
        by_name = {r.name: r for r in routes}
        usable = {r.name for r in routes if not r.given_up and r.max_references >= 1}
        places = [routes.index(by_name[name]) for name in tried]
        assert places == sorted(set(places)), "in their order, none twice"
        assert all(by_name[name].served and name in usable for name in tried)
        assert all(results[name] in CONTINUES for name in tried[:-1]), "nothing is tried after a final result"
        order_at = before.order_at
        if order_at and tried:
            assert tried[0] == order_at, "an open order comes first"
        if tried and results[tried[-1]] not in CONTINUES:
            assert outcome == FINAL[results[tried[-1]]]
        elif isinstance(outcome, HandOver):
            assert outcome.route in usable
            assert not by_name[outcome.route].served
        elif isinstance(outcome, Fail) and not (order_at and order_at not in usable):
            hopeless = {name for name in tried if results[name] == AWAY_FOR_GOOD}
            assert usable <= hopeless, "no route that may still generate it is left out"


def test_the_sweep_above_reaches_every_outcome() -> None:
    kinds = {type(choose(routes, results, **before._asdict())[1]) for routes, results, before in _random_cases(500)}
    assert kinds == {Done, Retry, Fail, HandOver}


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
