"""A callback: how it is signed (Standard Webhooks), and when it is tried again."""

import base64
import hmac
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from framehouse.domain.task import Status

GIVE_UP_AFTER_S = 24 * 3600.0
ANSWER_LIMIT_S = 10.0
LEASE_S = 2 * ANSWER_LIMIT_S
"""How long a worker may hold a claimed message."""
ASKING_CODES = (429, 503)
"""Answers whose `Retry-After` is obeyed."""
_LONGEST_PAUSE_S = 3600.0
_LONGEST_JITTER = 0.5
BROKEN_PAUSE_S = 60.0
"""The pause after a delivery that broke inside this server."""


class Delivery(NamedTuple):
    """A callback message and its delivery so far. `next_try_at` is None once the delivery has ended."""

    id: UUID
    task_id: UUID
    external_task_id: str | None
    status: Status
    state: Literal["waiting", "delivered", "gone", "given_up"]
    tries: int
    last_code: int | None
    last_error: str | None
    callback_url: str
    created_at: datetime
    tried_at: datetime | None
    next_try_at: datetime | None


def message_id(id: UUID) -> str:
    """The `webhook-id`: the same for every try of one message."""
    return f"msg_{id.hex}"


def signature(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` of a body: one `v1,…` per `whsec_…` secret. `timestamp` is in Unix seconds.

    Source: the Standard Webhooks specification, "Signature scheme" (HMAC-SHA256 over id.timestamp.body).
    """
    signed = f"{id}.{timestamp}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets)
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)


def pause_s(attempt: int, retry_after_s: float, jitter: float) -> float:
    """Seconds until the next try after the `attempt`-th: 1, 2, 4 … up to an hour, but not before the receiver asks for.
    `jitter`, from 0 to 1, stretches it by up to a half, so that receivers that come back are not met by all at once."""
    return max(_growing_s(attempt) * (1 + jitter * _LONGEST_JITTER), min(retry_after_s, GIVE_UP_AFTER_S))


def longest_pauses_s() -> list[float]:
    """The longest pause after the first, second, … attempt, if the receiver asks for none. The last holds for all that
    follow. A delivery may also have broken inside this server."""
    attempts = itertools.count(1)
    growing = itertools.takewhile(lambda pause_s: pause_s < _LONGEST_PAUSE_S, map(_growing_s, attempts))
    longest = (pause_s * (1 + _LONGEST_JITTER) for pause_s in (*growing, _LONGEST_PAUSE_S))
    return [max(pause_s, BROKEN_PAUSE_S) for pause_s in longest]


def _growing_s(attempt: int) -> float:
    return min(_LONGEST_PAUSE_S, 2.0 ** min(attempt - 1, 20))
