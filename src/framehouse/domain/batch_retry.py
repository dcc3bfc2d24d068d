"""Decide whether a batch is tried again or given up.

The decision depends on its outcome, the number of its attempts and the time since its first failure.
"""

from dataclasses import dataclass

from framehouse.domain.outcome import Done, Fail, HandOver, Outcome, Retry

LONGEST_PAUSE_S = 60.0
_SHORTEST_PAUSE_S = 1.0
_OPEN_ORDER_GIVE_UP_S = 86_400.0
_OPEN_ORDER_ATTEMPTS = 10
"""The limit of attempts is this many times higher for a batch with an open order, because it may have been paid for."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """The limits after which a batch fails its task.

    `attempts` limits the attempts whose failure the batch may have caused, including those whose worker died.
    `give_up_after_s` limits the time since the first failure, in seconds.
    """

    attempts: int = 5
    give_up_after_s: float = 3600.0

    def give_up_s(self, *, open_order: bool) -> float:
        """The longest time for which a batch may fail before its task fails, in seconds."""
        return max(self.give_up_after_s, _OPEN_ORDER_GIVE_UP_S) if open_order else self.give_up_after_s


@dataclass(frozen=True, slots=True)
class Release:
    """The batch returns to the queue and is due after `after_s` seconds.

    It waits for `route`; empty means the model's first route.
    """

    after_s: float
    reason: str
    counts_attempt: bool = False
    route: str = ""


def next_step(
    outcome: Outcome, *, attempt: int, failing_s: float, limits: RetryLimits, jitter: float
) -> Done | Release | Fail:
    """The step to record for an outcome.

    `attempt` counts from 1. `failing_s` is the time since the batch's first failure, 0 if it has none. `jitter` is a
    factor around 1 that spreads the pauses of batches that failed at the same time.
    """
    pause_s = min(LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, failing_s / 4)) * jitter
    match outcome:
        case Retry(reason, _, open_order) if reason and failing_s > limits.give_up_s(open_order=open_order):
            return _give_up(failing_s, reason)
        case HandOver(_, reason) if reason and failing_s > limits.give_up_after_s:
            return _give_up(failing_s, reason)
        case Retry(reason, counts_attempt=True):
            return Release(min(LONGEST_PAUSE_S, 2.0**attempt) * jitter, reason, counts_attempt=True)
        case Retry(reason):
            return Release(pause_s, reason)
        case HandOver(route, reason):
            # Without a pause, workers whose routes are in different orders would keep handing over a batch that fails
            # on every route.
            return Release(pause_s if reason and failing_s else 0.0, reason, route=route)
        case _:
            return outcome


def _give_up(failing_s: float, reason: str) -> Fail:
    return Fail(f"given up after {failing_s / 60:.0f} minutes: {reason}")


def attempts_used_up(attempt: int, limits: RetryLimits, *, open_order: bool) -> bool:
    """Whether attempt number `attempt` exceeds the limit."""
    return attempt > limits.attempts * (_OPEN_ORDER_ATTEMPTS if open_order else 1)


def may_be_poison(attempt: int, limits: RetryLimits, *, open_order: bool) -> bool:
    """Whether a batch may be poison: its workers may have died of it.

    True from the second-last attempt on, but never for the first attempt. Always false for a batch with an open order:
    an upstream generates it, so it cannot kill a worker.
    """
    return 1 < attempt >= limits.attempts - 1 and not open_order
