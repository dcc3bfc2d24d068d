"""The outcomes of an attempt to generate a batch: `Done`, `Postpone`, `Retry`, `Fail`, `HandOver` or `Wait`."""

from dataclasses import dataclass

MAY_BE_PAID = "is not sent again"
"""A part of the error message of each task for which an upstream may already have charged."""


@dataclass(frozen=True, slots=True)
class Done:
    """Every shot of the batch is saved, or the worker has lost its claim. In both cases, there is nothing to record."""


@dataclass(frozen=True, slots=True)
class Postpone:
    """The engine must be called again for the batch after `after_s` seconds. Nothing failed."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Retry:
    """The batch is retried later.

    `counts_attempt` is true if the batch may have caused the failure. The attempt then counts towards the maximum
    number of attempts. `open_order` is true if the batch has an open order. The order may have been paid for, so
    `batch_retry.py` permits more attempts and a longer time.
    """

    reason: str
    counts_attempt: bool = False
    open_order: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The task fails. The client sees the reason.

    `declined` is true if the task fails because of its request: the engine declines it, or a reference cannot be used.
    """

    reason: str
    declined: bool = False


@dataclass(frozen=True, slots=True)
class HandOver:
    """The batch returns to the queue for a worker that serves `route`.

    `reason` is the error of an earlier route. `reason` is empty if no earlier route failed.
    """

    route: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """The batch waits for `route`, which has reached its request limit, for `after_s` seconds. Nothing failed."""

    route: str
    after_s: float


Outcome = Done | Postpone | Retry | Fail | HandOver | Wait
