"""Sign a callback message and attempt to deliver it.

The result of an attempt is a `Delivered`, `Again` or `Ended`. The label `outcome` of the metric `framehouse_deliveries`
is the name of the result's class in lower case.
"""

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from framehouse.adapters.fetch import USER_AGENT, FetchFailed, post
from framehouse.adapters.postgres.callback_queue import CallbackMessage
from framehouse.domain.callback import (
    ANSWER_TIMEOUT_S,
    CONNECT_GRACE_S,
    GIVE_UP_AFTER_S,
    RETRY_AFTER_CODES,
    message_id,
    pause_s,
    signature,
)
from framehouse.domain.element import ElementTask
from framehouse.domain.fetch_problems import NO_RESPONSE
from framehouse.domain.signed_urls import Links
from framehouse.domain.task_json import element_task_data, task_data


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver accepted the message: it responded with a 2xx status code."""

    code: int


@dataclass(frozen=True, slots=True)
class Again:
    """The attempt failed. The next attempt is due after `after_s` seconds.

    `code` is the HTTP status code of the response. `code` is None if there was no response.
    """

    after_s: float
    reason: str
    code: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The attempt failed, and no further attempt follows.

    The receiver responded with HTTP 410 (`gone` is true), or the message is more than 24 hours old.
    """

    reason: str
    code: int | None
    gone: bool


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of one attempt to send a message.

    `code` is the HTTP status code of the response, or None if there was no response. `reason` is the reason of the
    failure, or empty if the receiver accepted the message. `retry_after_s` is the pause that the receiver requested.
    """

    code: int | None
    reason: str
    retry_after_s: float = 0.0


async def deliver(message: CallbackMessage, links: Links, *, allow_private: bool) -> Delivered | Again | Ended:
    """Make one attempt to deliver a message.

    A receiver may receive a message twice, because the worker may crash before it saves the result of a delivery. The
    `webhook-id` headers of both deliveries are then equal.
    """
    task = message.task
    data = element_task_data(task, links) if isinstance(task, ElementTask) else task_data(task, links, progress=False)
    result = await send_signed(
        message.url,
        data,
        id=message.id,
        secrets=message.secrets,
        allow_private=allow_private,
        account_id=message.account_id,
    )
    if not result.reason and result.code is not None:
        return Delivered(result.code)
    if result.code == 410:
        return Ended(result.reason, result.code, gone=True)
    remaining_s = message.created_at.timestamp() + GIVE_UP_AFTER_S - time.time()
    if remaining_s <= 0:
        return Ended(result.reason, result.code, gone=False)
    pause = pause_s(message.attempt, result.retry_after_s, random.random())
    return Again(min(remaining_s, pause), result.reason, result.code)


async def send_signed(
    url: str,
    data: Mapping[str, Any],
    *,
    id: UUID,
    secrets: Sequence[str],
    allow_private: bool,
    account_id: int,
) -> SendResult:
    """Send a message with the body `data` to a URL, signed with each of the `secrets`.

    If `allow_private` is false, private addresses are refused.
    """
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    now = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id(id),
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secrets, message_id(id), now, body),
    }
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S + CONNECT_GRACE_S):
            code, response_headers = await post(
                url,
                body,
                headers,
                idle_timeout_s=ANSWER_TIMEOUT_S,
                allow_private=allow_private,
                account_id=account_id,
            )
    except TimeoutError:
        return SendResult(None, f"{NO_RESPONSE} within {ANSWER_TIMEOUT_S:.0f} s")
    except FetchFailed as error:
        return SendResult(None, f"the URL {error.message}")
    if 200 <= code < 300:
        return SendResult(code, "")
    if code == 410:
        return SendResult(code, "the receiver is gone")
    retry_after = response_headers.get("retry-after", "") if code in RETRY_AFTER_CODES else ""
    reason = f"HTTP {code}" + (": redirects are not followed" if 300 <= code < 400 else "")
    return SendResult(code, reason, _retry_after_s(retry_after))


def _retry_after_s(retry_after: str) -> float:
    """Convert a Retry-After header to a number of seconds from now.

    The header contains a number of seconds or a date. Returns 0 if the header is invalid.
    """
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    if len(retry_after) > 64:
        return 0.0
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
