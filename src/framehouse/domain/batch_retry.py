"""When a batch is tried again, and when it is given up: from its outcome, its attempts and the time it has failed."""

from dataclasses import dataclass

from framehouse.domain.outcome import Done, Fail, HandOver, Outcome, Retry

LONGEST_PAUSE_S = 60.0
_SHORTEST_PAUSE_S = 1.0
_OPEN_ORDER_GIVE_UP_S = 86_400.0
_OPEN_ORDER_ATTEMPTS = 10
"""A batch with an open order has this many times the attempts of others, because it may have been paid for."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """`attempts` of a batch that may itself be at fault; `give_up_after_s` after its first failure."""

    attempts: int = 5
    give_up_after_s: float = 3600.0

    def give_up_s(self, *, open_order: bool) -> float:
        """How long a batch may fail before its task fails."""
        return max(self.give_up_after_s, _OPEN_ORDER_GIVE_UP_S) if open_order else self.give_up_after_s


@dataclass(frozen=True, slots=True)
class Release:
    """The batch goes back to the queue, due after `after_s`, and waits for `route` (empty: the model's first)."""

    after_s: float
    why: str
    counts_attempt: bool = False
    route: str = ""


def next_step(
    outcome: Outcome, *, attempt: int, failing_s: float, limits: RetryLimits, jitter: float
) -> Done | Release | Fail:
    """What to record for an outcome.

    `attempt` counts from 1. `failing_s` is the time since the batch's first failure, 0 if it has none. `jitter` is a
    factor around 1 that spreads the pauses of batches that failed together.
    """
    pause_s = min(LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, failing_s / 4)) * jitter
    match outcome:
        case Retry(why, _, open_order) if why and failing_s > limits.give_up_s(open_order=open_order):
            return _given_up(failing_s, why)
        case HandOver(_, why) if why and failing_s > limits.give_up_after_s:
            return _given_up(failing_s, why)
        case Retry(why, counts_attempt=True):
            return Release(min(LONGEST_PAUSE_S, 2.0**attempt) * jitter, why, counts_attempt=True)
        case Retry(why):
            return Release(pause_s, why)
        case HandOver(route, why):
            # Workers with the same routes in another order would hand a batch that fails everywhere to each other.
            return Release(pause_s if why and failing_s else 0.0, why, route=route)
        case _:
            return outcome


def _given_up(failing_s: float, why: str) -> Fail:
    return Fail(f"given up after {failing_s / 60:.0f} minutes: {why}")


def attempts_used_up(attempt: int, limits: RetryLimits, *, open_order: bool) -> bool:
    """Whether attempt number `attempt` is one too many."""
    return attempt > limits.attempts * (_OPEN_ORDER_ATTEMPTS if open_order else 1)


def may_be_poison(attempt: int, limits: RetryLimits, *, open_order: bool) -> bool:
    """Whether a batch at its last attempts may be what killed its workers. A batch with an open order is generated
    elsewhere, so it killed none of them."""
    return 1 < attempt >= limits.attempts - 1 and not open_order
