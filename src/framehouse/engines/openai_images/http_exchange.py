"""One request to one server, and what its answer means.

NotTaken   nothing was sent, or it clearly refused: the same may be sent elsewhere
Lost       it may be painting, or have painted, what nobody will see: it is never sent again from here
Declined   it will not paint this
Broken     what came back is nonsense, or says that the request is wrong
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pybase64
from numpy.typing import NDArray
from pydantic_core import from_json

from framehouse.adapters.telemetry import spans
from framehouse.domain.errors import Broken, Declined
from framehouse.engines.image_files import Png, read_answer

if TYPE_CHECKING:
    import httpx

CONNECT_LIMIT_S = 10.0
KEY_REST_S = 300.0
_MOST_REST_S = 3600.0
_MOST_WORDS = 300
_MOST_ERROR_BYTES = 65_536
_POLICY_CODES = {"moderation_blocked", "content_policy_violation", "content_filter"}
_POLICY = re.compile(
    r"content[ _](?:policy|filter)|policy violation|moderation[ _]blocked|safety (?:system|checker|filter)|\bnsfw\b",
    re.IGNORECASE,
)
_BUSY = re.compile(r"overloaded|loading|not ready|try again later|retry later|capacity|too many", re.IGNORECASE)


class NotTaken(Exception):
    """Nothing was painted and nothing is owed. `rest_s`: so long at least the server is not to be asked, whatever its
    health says."""

    def __init__(self, why: str, *, rest_s: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.rest_s = rest_s


class Lost(Exception):
    """The request was sent, and what became of it is not known."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that arrived to its end; `headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class TaskImage:
    """`prompt`: the words that it was really painted from, where the server tells; else empty."""

    image: NDArray[np.uint8] | Png
    prompt: str = ""


async def ask(
    client: "httpx.AsyncClient", method: str, url: str, *, limit_s: float, most_bytes: int, **sent: Any
) -> Reply:
    """Send once and read the whole answer, whatever its status. Raises NotTaken where nothing was sent, Lost where the
    answer did not arrive, Broken where it is too large. Cancelling closes the connection."""
    import httpx

    connect_s = min(CONNECT_LIMIT_S, limit_s)
    limits = httpx.Timeout(limit_s, connect=connect_s, pool=connect_s)
    try:
        async with (
            asyncio.timeout(limit_s + connect_s),
            client.stream(method, url, timeout=limits, headers=spans.outgoing(), **sent) as answer,
        ):
            most = most_bytes if answer.status_code == 200 else _MOST_ERROR_BYTES
            pieces, length = [], 0
            async for piece in answer.aiter_raw():
                pieces.append(piece)
                length += len(piece)
                if length > most and answer.status_code == 200:
                    raise Broken(f"the answer has more than {most:,} bytes")
                if length > most:
                    break
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, headers, b"".join(pieces))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
        raise NotTaken(f"cannot be reached: {_cleaned(str(error)) or type(error).__name__}") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise Lost(f"gave no answer for {limit_s:g} s") from error
    except httpx.HTTPError as error:
        raise Lost("broke the connection") from error


def failure(reply: Reply, *, paid: bool) -> Exception:
    """What an answer other than 200 means. Where nothing is paid, 503 is a refusal; where it is, only if it says so."""
    words, code = said(reply.body)
    told = f"HTTP {reply.status}" + (f": {words}" if words else "")
    wait_s = _retry_after(reply.headers)
    if reply.status in (400, 403, 422) and (code in _POLICY_CODES or _POLICY.search(words)):
        return Declined(words or "the model server declined the prompt")
    if reply.status in (401, 402, 403):
        return NotTaken(f"does not accept the api_key (HTTP {reply.status})", rest_s=KEY_REST_S)
    if reply.status == 429:
        spent = "insufficient_quota" in code
        return NotTaken(
            "has nothing left of its quota" if spent else "is busy (HTTP 429)", rest_s=KEY_REST_S if spent else wait_s
        )
    if reply.status == 503 and (not paid or wait_s or _BUSY.search(words)):
        return NotTaken("is busy or still loading (HTTP 503)", rest_s=wait_s)
    if 300 <= reply.status < 400:
        return NotTaken("answers with a redirect, which is not followed; base_urls must name where it leads")
    if reply.status >= 500 or reply.status in (408, 409, 425) or reply.status < 300:
        return Lost(f"answered {told}")
    return Broken(f"the model server answered {told}")


def said(body: bytes) -> tuple[str, str]:
    """An error's sentence, on one line and not too long, and its code; empty where there is none. Knows the shapes of
    OpenAI (`error`), FastAPI (`detail`, also its list of wrong fields) and plain `message`."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(told, dict):
        return "", ""
    inner = told.get("error") or told.get("detail") or told.get("message") or ""
    if isinstance(inner, dict):
        return _cleaned(str(inner.get("message", ""))), str(inner.get("code") or inner.get("type") or "")
    if isinstance(inner, list):
        wrong = [one for one in inner if isinstance(one, dict)]
        inner = "; ".join(f"{'.'.join(map(str, one.get('loc', ())))}: {one.get('msg', '')}" for one in wrong)
    return _cleaned(str(inner)), ""


def images(body: bytes, count: int) -> Sequence[TaskImage]:
    """The pictures of an answer with status 200, in order. Raises Broken unless there are exactly `count` and all can
    be decoded. Blocking."""
    try:
        data = from_json(body)["data"]  # a picture of base64 in a tenth of the time of json
        items = [(item.get("b64_json"), item.get("revised_prompt"), item.get("url")) for item in data]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise Broken("what came back is not an answer of the Images API") from error
    if len(items) != count:
        raise Broken(f"{len(items)} pictures came back, {count} were asked for")
    found = []
    for content, prompt, url in items:
        if not isinstance(content, str) or not content:
            raise Broken("an address came back instead of a picture" if url else "no picture came back")
        try:
            decoded = pybase64.b64decode(content, validate=True)
        except ValueError as error:
            raise Broken("what came back is not valid base64") from error
        found.append(TaskImage(read_answer(decoded), prompt if isinstance(prompt, str) else ""))
    return found


def _cleaned(words: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words if len(words) <= _MOST_WORDS else words[: _MOST_WORDS - 1] + "…"


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds; 0 where it says nothing of use."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(_MOST_REST_S, float(value[:9]))
    try:
        return min(_MOST_REST_S, max(0.0, parsedate_to_datetime(value).timestamp() - time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
