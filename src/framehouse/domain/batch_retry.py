"""Determine whether a batch is retried or its task fails.

The result depends on the outcome of the attempt, the number of attempts, and the time since the batch's first failure.
"""

from dataclasses import dataclass

from framehouse.domain.outcome import Done, Fail, HandOver, Outcome, Postpone, Retry, Wait

LONGEST_PAUSE_S = 60.0
_SHORTEST_PAUSE_S = 1.0
_OPEN_ORDER_GIVE_UP_S = 86_400.0
_OPEN_ORDER_ATTEMPTS = 10
"""The factor by which the maximum number of attempts is multiplied if a batch has an open order. The order may have
been paid for, so the batch is allowed more attempts."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """The limits on retrying a batch. If a batch exceeds a limit, its task fails.

    `attempts` is the maximum number of attempts. An attempt counts only if the batch may have caused the failure, for
    example if the worker died. `give_up_after_s` is the maximum time since the first failure, in seconds.
    """

    attempts: int = 5
    give_up_after_s: float = 3600.0

    def give_up_s(self, *, open_order: bool) -> float:
        """Return the maximum time since a batch's first failure, in seconds. After this time, the task fails.

        If the batch has an open order, the maximum is at least one day.
        """
        return max(self.give_up_after_s, _OPEN_ORDER_GIVE_UP_S) if open_order else self.give_up_after_s


@dataclass(frozen=True, slots=True)
class Release:
    """The instruction to return a batch to the queue, where it becomes due after `after_s` seconds.

    If `route` is set, a worker that serves this route claims the batch next. If `route` is empty, the batch starts
    again at the model's first route. A batch with an open order instead returns to the route of that order. `failed` is
    false if the batch is only postponed, and nothing failed.
    """

    after_s: float
    reason: str
    counts_attempt: bool = False
    route: str = ""
    failed: bool = True


def next_step(
    outcome: Outcome, *, attempt: int, failing_s: float, limits: RetryLimits, jitter: float
) -> Done | Release | Fail:
    """Convert the outcome of an attempt to `Done`, `Release` or `Fail`.

    `attempt` counts from 1. `failing_s` is the time in seconds since the batch's first failure, or 0 before the first
    failure. `jitter` is a random factor around 1. The pauses after failures are multiplied by `jitter`, so that batches
    that failed at the same time are not retried at the same time.
    """
    pause_s = min(LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, failing_s / 4)) * jitter
    match outcome:
        case Postpone(after_s):
            return Release(after_s, "", failed=False)
        case Wait(route, after_s):
            return Release(after_s * jitter, "", route=route, failed=False)
        case Retry(reason, _, open_order) if reason and failing_s > limits.give_up_s(open_order=open_order):
            return _give_up(failing_s, reason)
        case HandOver(_, reason) if reason and failing_s > limits.give_up_after_s:
            return _give_up(failing_s, reason)
        case Retry(reason, counts_attempt=True):
            return Release(min(LONGEST_PAUSE_S, 2.0**attempt) * jitter, reason, counts_attempt=True)
        case Retry(reason):
            return Release(pause_s, reason)
        case HandOver(route, reason):
            # If every route fails, workers that serve different routes hand the batch over to each other repeatedly.
            # The pause limits the rate of these handovers.
            return Release(pause_s if reason and failing_s else 0.0, reason, route=route)
        case _:
            return outcome


def _give_up(failing_s: float, reason: str) -> Fail:
    return Fail(f"given up after {failing_s / 60:.0f} minutes: {reason}")


def attempts_used_up(attempt: int, limits: RetryLimits, *, open_order: bool) -> bool:
    """Return whether attempt number `attempt` exceeds the limit on attempts."""
    return attempt > limits.attempts * (_OPEN_ORDER_ATTEMPTS if open_order else 1)


def may_be_poison(attempt: int, limits: RetryLimits, *, open_order: bool) -> bool:
    """Return whether a batch may be a poison batch, which kills the workers that process it.

    `attempt` is the number of the current attempt. Returns True if `limits` allow at most one attempt after this
    attempt. There are two exceptions: the result is always False for the first attempt and for a batch with an open
    order. An upstream generates the images of such a batch, so the batch cannot kill a worker.
    """
    return 1 < attempt >= limits.attempts - 1 and not open_order
