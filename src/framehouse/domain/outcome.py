"""What happens to a batch after a worker had it, as a value: done, tried again later, failed, or handed over."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Every shot of the batch is saved, or the batch no longer belongs to this worker. Nothing is left to record."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The batch is tried again later.

    `counts_attempt`: the batch itself may be at fault, so this attempt counts towards the limit. `open_order`: an
    upstream may have been paid for it, so it is given up much later.
    """

    why: str
    counts_attempt: bool = False
    open_order: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The task ends as failed, with this reason for the caller."""

    why: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """A worker that serves `route` continues the batch now. `why` is the error of the routes before, empty if none."""

    route: str
    why: str = ""


Outcome = Done | Retry | Fail | HandOver
