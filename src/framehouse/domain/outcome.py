"""The outcome of an attempt to generate a batch: it is done, tried again later, failed, or handed over."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """Every shot of the batch is saved, or the worker has lost the batch. Nothing is left to record."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The batch is tried again later.

    `counts_attempt`: the batch itself may be at fault, so this attempt counts towards the limit. `open_order`: the
    batch has an open order that may have been paid for, so the batch is given up much later.
    """

    reason: str
    counts_attempt: bool = False
    open_order: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The task fails, with this reason for the caller."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """A worker that serves `route` continues the batch.

    `reason` is the error of an earlier route; empty if no earlier route failed.
    """

    route: str
    reason: str = ""


Outcome = Done | Retry | Fail | HandOver
