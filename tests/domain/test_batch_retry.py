"""Retries of a batch: their pauses, the limits on attempts and time, and the isolation of possible poison batches."""

import pytest

from framehouse.domain.batch_retry import Release, RetryLimits, attempts_used_up, may_be_poison, next_step
from framehouse.domain.outcome import Done, Fail, HandOver, Retry

LIMITS = RetryLimits(attempts=5, give_up_after_s=3600)
HOUR_S, DAY_S = 3600.0, 86_400.0


def step(outcome: Done | Retry | Fail | HandOver, *, attempt: int = 1, failing_s: float = 0.0, jitter: float = 1.0,
         limits: RetryLimits = LIMITS) -> Done | Release | Fail:  # fmt: skip
    return next_step(outcome, attempt=attempt, failing_s=failing_s, limits=limits, jitter=jitter)


def test_done_and_fail_are_not_retried() -> None:
    assert step(Done()) == Done()
    assert step(Fail("no"), failing_s=2 * HOUR_S) == Fail("no")


@pytest.mark.parametrize(("failing_s", "pause_s"), [(0, 1), (3, 1), (40, 10), (240, 60), (3599, 60)])
def test_the_pause_after_an_unavailable_route_is_a_quarter_of_the_time_since_the_first_failure(
    failing_s: float, pause_s: float
) -> None:
    assert step(Retry("busy"), failing_s=failing_s) == Release(pause_s, "busy")


@pytest.mark.parametrize(("attempt", "pause_s"), [(1, 2), (2, 4), (5, 32), (6, 60), (50, 60)])
def test_the_pause_doubles_if_the_batch_may_have_caused_the_failure(attempt: int, pause_s: float) -> None:
    assert step(Retry("boom", counts_attempt=True), attempt=attempt) == Release(pause_s, "boom", counts_attempt=True)


def test_jitter_spreads_the_pauses() -> None:
    assert step(Retry("busy"), failing_s=40, jitter=1.2) == Release(12, "busy")
    assert step(Retry("busy"), failing_s=1000, jitter=0.8) == Release(48, "busy")


def test_a_batch_is_given_up_after_the_time_limit() -> None:
    assert step(Retry("busy"), failing_s=HOUR_S) == Release(60, "busy")
    assert step(Retry("busy"), failing_s=HOUR_S + 1) == Fail("given up after 60 minutes: busy")
    assert step(Retry("boom", counts_attempt=True), failing_s=HOUR_S + 1) == Fail("given up after 60 minutes: boom")
    assert step(HandOver("b", "busy"), failing_s=HOUR_S + 1) == Fail("given up after 60 minutes: busy")


def test_an_open_order_is_given_up_after_a_day_or_the_limit() -> None:
    order = Retry("still working", open_order=True)
    assert step(order, failing_s=DAY_S) == Release(60, "still working")
    assert step(order, failing_s=DAY_S + 1) == Fail("given up after 1440 minutes: still working")
    long = RetryLimits(give_up_after_s=3 * DAY_S)
    assert step(order, failing_s=2 * DAY_S, limits=long) == Release(60, "still working")


def test_a_hand_over_is_due_immediately_the_first_time_and_later_with_a_pause() -> None:
    assert step(HandOver("b", "busy")) == Release(0, "busy", route="b")
    assert step(HandOver("b"), failing_s=40) == Release(0, "", route="b"), "a pause, although no route failed"
    # Without this pause, two workers with the routes in different orders would hand the batch back and forth.
    assert step(HandOver("b", "busy"), failing_s=40) == Release(10, "busy", route="b")


def test_attempts_are_limited_and_an_open_order_has_ten_times_as_many() -> None:
    assert not attempts_used_up(5, LIMITS, open_order=False)
    assert attempts_used_up(6, LIMITS, open_order=False)
    assert not attempts_used_up(50, LIMITS, open_order=True)
    assert attempts_used_up(51, LIMITS, open_order=True)


@pytest.mark.parametrize(("attempts", "poison_from"), [(5, 4), (3, 2), (2, 2), (1, 2)])
def test_the_last_attempts_are_isolated_but_never_the_first(attempts: int, poison_from: int) -> None:
    limits = RetryLimits(attempts=attempts)
    isolated = [n for n in range(1, 8) if may_be_poison(n, limits, open_order=False)]
    assert isolated == list(range(poison_from, 8))
    assert not any(may_be_poison(n, limits, open_order=True) for n in range(1, 8))
