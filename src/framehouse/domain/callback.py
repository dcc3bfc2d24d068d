"""A callback: how it is signed (Standard Webhooks), and when it is tried again."""

import base64
import hmac
from collections.abc import Sequence
from uuid import UUID

GIVE_UP_AFTER_S = 24 * 3600.0
_LONGEST_PAUSE_S = 3600.0


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
    growing = min(_LONGEST_PAUSE_S, 2.0 ** min(attempt - 1, 20))
    return max(growing * (1 + jitter / 2), min(retry_after_s, GIVE_UP_AFTER_S))
