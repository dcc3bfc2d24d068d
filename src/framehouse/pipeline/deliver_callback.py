"""Sign and deliver one callback, and say what became of it."""

import asyncio
import email.utils
import json
import random
import time
from dataclasses import dataclass

from framehouse.adapters.fetch import FetchFailed, post
from framehouse.adapters.postgres.callback_queue import CallbackMessage
from framehouse.domain.callback import ANSWER_LIMIT_S, ASKING_CODES, GIVE_UP_AFTER_S, message_id, pause_s, signature
from framehouse.domain.element import ElementTask
from framehouse.domain.signed_urls import Links
from framehouse.domain.task_json import element_task_data, task_data


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it: any 2xx."""

    code: int


@dataclass(frozen=True, slots=True)
class Again:
    """Not yet: the next try is due after this many seconds. `code` is the answer's, None where there was none."""

    after_s: float
    why: str
    code: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """No further try: the receiver answered 410 (`gone`), or 24 hours are over."""

    why: str
    code: int | None
    gone: bool


async def deliver(message: CallbackMessage, links: Links, *, allow_private: bool) -> Delivered | Again | Ended:
    """Try once. The receiver may get it twice (our note of its answer may be lost); the id is the same then."""
    task = message.task
    data = element_task_data(task, links) if isinstance(task, ElementTask) else task_data(task, links, progress=False)
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    id, now = message_id(message.id), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Framehouse",
        "webhook-id": id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(message.secrets, id, now, body),
    }
    code: int | None = None
    retry_after_s = 0.0
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            code, answered = await post(
                message.url, body, headers, silence_s=0.8 * ANSWER_LIMIT_S, allow_private=allow_private
            )
        if 200 <= code < 300:
            return Delivered(code)
        if code == 410:
            return Ended("the receiver is gone", code, gone=True)
        why = f"HTTP {code}" + (": redirects are not followed" if 300 <= code < 400 else "")
        if code in ASKING_CODES:
            retry_after_s = _seconds(answered.get("retry-after", ""))
    except TimeoutError:
        why = f"no answer within {ANSWER_LIMIT_S:.0f} s"
    except FetchFailed as error:
        why = f"the URL {error.message}"
    left_s = message.created_at.timestamp() + GIVE_UP_AFTER_S - time.time()
    if left_s <= 0:
        return Ended(why, code, gone=False)
    return Again(min(left_s, pause_s(message.attempt, retry_after_s, random.random())), why, code)


def _seconds(retry_after: str) -> float:
    """A Retry-After header, seconds or date, in seconds from now; 0 for nonsense."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:9])
    if len(retry_after) > 64:
        return 0.0
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0
