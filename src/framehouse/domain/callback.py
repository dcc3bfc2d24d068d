"""The signature of a callback (Standard Webhooks), and the pauses between delivery attempts."""

import base64
import hmac
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from framehouse.domain.task import Status

GIVE_UP_AFTER_S = 24 * 3600.0
ANSWER_TIMEOUT_S = 10.0
CONNECT_GRACE_S = 3.0
"""The time for connecting, in seconds. A delivery attempt takes at most `ANSWER_TIMEOUT_S` plus this time."""
LEASE_S = 2 * ANSWER_TIMEOUT_S
"""The duration of the lease on a claimed message, in seconds."""
RETRY_AFTER_CODES = (429, 503)
"""The HTTP status codes for which the `Retry-After` header of the response delays the next attempt."""
_LONGEST_PAUSE_S = 3600.0
_LONGEST_JITTER = 0.5
BROKEN_PAUSE_S = 60.0
"""The pause after a delivery attempt that failed with an internal error, in seconds."""


class Delivery(NamedTuple):
    """A callback message and the state of its delivery. `next_try_at` is None if no further attempt follows."""

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
    """Return the `webhook-id` of a message, which is the same for every delivery attempt."""
    return f"msg_{id.hex}"


def signature(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of a message: one `v1,…` signature for each `whsec_…` secret.

    `id` is the `webhook-id`. `timestamp` is a Unix timestamp in seconds. The Standard Webhooks specification
    ("Signature scheme") defines the signature as the HMAC-SHA256 of `id.timestamp.body`.
    """
    signed = f"{id}.{timestamp}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets)
    return " ".join("v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)


def pause_s(attempt: int, retry_after_s: float, jitter: float) -> float:
    """Return the pause after attempt number `attempt`, in seconds.

    The backoff pause doubles after each attempt: 1, 2, 4 … seconds, up to one hour. `jitter` is a random number from 0
    to 1 that lengthens the backoff pause by up to 50 %. The jitter spreads the attempts over time, so that a recovering
    receiver does not receive all waiting messages at the same time.

    `retry_after_s` is the pause that the receiver requested. If the requested pause is longer than the backoff pause,
    the function returns the requested pause, but at most 24 hours.
    """
    return max(_backoff_s(attempt) * (1 + jitter * _LONGEST_JITTER), min(retry_after_s, GIVE_UP_AFTER_S))


def longest_pauses_s() -> list[float]:
    """Return the longest possible pause after each attempt, in seconds, including the maximum jitter. Entry 0 is the
    longest pause after the first attempt.

    The last entry also applies to all later attempts. No entry is less than `BROKEN_PAUSE_S`, the pause after an
    internal error. A pause that a receiver requests with `Retry-After` may be longer than these values.
    """
    attempts = itertools.count(1)
    growing = itertools.takewhile(lambda pause_s: pause_s < _LONGEST_PAUSE_S, map(_backoff_s, attempts))
    longest = (pause_s * (1 + _LONGEST_JITTER) for pause_s in (*growing, _LONGEST_PAUSE_S))
    return [max(pause_s, BROKEN_PAUSE_S) for pause_s in longest]


def _backoff_s(attempt: int) -> float:
    return min(_LONGEST_PAUSE_S, 2.0 ** min(attempt - 1, 20))
