"""The wire to an upstream of the contract, and what each of its answers means for an order.

Nothing is sent twice here. An answer that does not say clearly whether the order was taken is Lost; asking is for the
engine to do.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from framehouse.adapters.telemetry import spans

if TYPE_CHECKING:
    import httpx

PATH = "/v1/images/omni-image"
_CONNECT_S = 10.0
_MOST_ANSWER_BYTES = 10_000_000
_MOST_TOLD = 300
_LIST_PAGE = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """The order is upstream's task of this id."""

    task_id: str


@dataclass(frozen=True, slots=True)
class Full:
    """Not taken: too much at once, or too fast. Later, or by another account."""

    too_many: bool


@dataclass(frozen=True, slots=True)
class Unfit:
    """Not taken, and this account cannot be used for a while; `long`: until a person mends it."""

    why: str
    long: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not taken, and never will be."""

    why: str


@dataclass(frozen=True, slots=True)
class Lost:
    """It may have been taken."""

    why: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The upstream knows no such task."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """It could not be asked."""

    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """A task as the upstream tells it. `images` are the pictures' URLs, in order."""

    task_id: str
    status: str
    message: str = ""
    progress: float = 0.0
    images: tuple[str, ...] = field(default=())


class Upstream:
    """One upstream, by the URL that its paths follow. Opens its connections with the first request."""

    def __init__(self, base_url: str, *, answer_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._answer_s = answer_s
        self._posts: httpx.AsyncClient | None = None
        self._gets: httpx.AsyncClient | None = None

    async def submit(self, body: Mapping[str, Any], authorization: str) -> Taken | Full | Unfit | Refusal | Lost:
        """Send an order, once."""
        import httpx

        headers = {"Idempotency-Key": str(body["external_task_id"])}
        try:
            status, answer = await self._ask("POST", "", authorization, json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return Unfit(f"cannot be reached: {type(error).__name__}")  # nothing was sent
        except (httpx.HTTPError, ValueError) as error:
            return Lost(f"the answer was lost: {type(error).__name__}")
        return read_submit(status, answer)

    async def find(self, id: str, authorization: str) -> Found | Absent | Unanswered:
        """Ask for a task by its id or our external one."""
        answer = await self._get(f"/{quote(id, safe='')}", authorization)
        if isinstance(answer, Absent | Unanswered):
            return answer
        data = answer.get("data")
        found = read_task(data) if isinstance(data, Mapping) else None
        return found or Unanswered("it answered nonsense")

    async def find_in_list(self, external_id: str, authorization: str) -> Found | Absent | Unanswered:
        """Look for a task of ours among the newest: some upstreams find nothing by external ids."""
        answer = await self._get(f"?pageNum=1&pageSize={_LIST_PAGE}", authorization)
        if isinstance(answer, Absent | Unanswered):
            return answer
        listed = answer.get("data")
        for data in listed if isinstance(listed, list) else []:
            info = data.get("task_info") if isinstance(data, Mapping) else None
            if isinstance(info, Mapping) and info.get("external_task_id") == external_id:
                return read_task(data) or Unanswered("it answered nonsense")
        return Absent() if isinstance(listed, list) else Unanswered("it answered nonsense")

    async def look(self, authorization: str) -> str:
        """Whether an account is let in: empty, or why not. Costs nothing."""
        answer = await self._get("?pageNum=1&pageSize=1", authorization)
        return answer.why if isinstance(answer, Unanswered) else ""

    async def cancel(self, task_id: str, authorization: str) -> None:
        """Ask to end a task. Only another Framehouse can; elsewhere nothing happens."""
        import httpx

        try:
            await self._ask("POST", f"/{quote(task_id, safe='')}/cancel", authorization)
        except (httpx.HTTPError, ValueError):
            return

    async def close(self) -> None:
        for client in (self._posts, self._gets):
            if client:
                await client.aclose()

    async def _get(self, rest: str, authorization: str) -> Mapping[str, Any] | Absent | Unanswered:
        import httpx

        try:
            status, answer = await self._ask("GET", rest, authorization)
        except (httpx.HTTPError, ValueError) as error:
            return Unanswered(f"cannot be reached: {type(error).__name__}")
        code = answer.get("code") if answer else None
        if answer is not None and status == 200 and code == 0:
            return answer
        if status in (400, 404) and code in (1200, 1201, 1202, 1203):
            return Absent()
        return Unanswered(_unfit_words(status, answer))

    async def _ask(
        self,
        method: str,
        rest: str,
        authorization: str,
        *,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, Any] | None]:
        """Status and JSON object of one answer (None: it is none). Raises httpx.HTTPError, ValueError."""
        client = self._client(method)
        headers = {"Authorization": authorization, "Accept": "application/json", **spans.outgoing(), **(headers or {})}
        async with client.stream(method, f"{self.base_url}{PATH}{rest}", headers=headers, json=json) as answer:
            body = bytearray()
            async for piece in answer.aiter_bytes(65536):
                body += piece
                if len(body) > _MOST_ANSWER_BYTES:
                    raise ValueError("the answer is too large")
            return answer.status_code, _object(bytes(body))

    def _client(self, method: str) -> "httpx.AsyncClient":
        import httpx

        timeout = httpx.Timeout(self._answer_s, connect=_CONNECT_S, pool=_CONNECT_S)
        if method == "GET":
            self._gets = self._gets or httpx.AsyncClient(trust_env=False, timeout=timeout)
            return self._gets
        if self._posts is None:
            # a connection of its own for each: one that was kept may be closed by the other side just when an order
            # goes out, and then nobody knows whether it arrived
            limits = httpx.Limits(max_keepalive_connections=0)
            self._posts = httpx.AsyncClient(trust_env=False, timeout=timeout, limits=limits)
        return self._posts


def read_submit(status: int, answer: Mapping[str, Any] | None) -> Taken | Full | Unfit | Refusal | Lost:
    """What the answer to an order means (contract, "Errors"). What is not clear is Lost."""
    code = answer.get("code") if answer else None
    if answer is None or not isinstance(code, int) or isinstance(code, bool):
        if status in (401, 403):
            return Unfit(f"is refused (HTTP {status})", long=True)
        if status == 429:
            return Full(too_many=False)
        if 400 <= status < 500 and status not in (408, 425, 499):
            return Refusal(_said(status, answer))
        return Lost(f"HTTP {status} came back without a word about the order")
    if code == 0:
        data = answer.get("data")
        task_id = data.get("task_id") if isinstance(data, Mapping) else None
        if 200 <= status < 300 and isinstance(task_id, str) and 1 <= len(task_id) <= 255 and task_id.isprintable():
            return Taken(task_id)
        return Lost("it was taken, but under what id was not said")
    message = _said(status, answer)
    if code in (1302, 1303):
        return Full(too_many=code == 1303)
    if code in (1100, 1101, 1102):
        return Unfit(f"cannot pay: {message}", long=True)
    if 1000 <= code <= 1004 or code == 1103:
        return Unfit(f"is refused: {message}", long=True)
    if 1200 <= code < 1400:
        if "already exists" in message.lower() and "external" in message.lower():
            return Lost(message)  # an order of this name is there: ours, whose answer was lost before
        return Refusal(message)
    return Lost(message)


def read_task(data: Mapping[str, Any]) -> Found | None:
    """A task in the contract's words; None for what is none."""
    task_id, status = data.get("task_id"), data.get("task_status")
    if not isinstance(task_id, str) or not task_id or status not in ("submitted", "processing", "succeed", "failed"):
        return None
    result = data.get("task_result")
    images: list[tuple[int, str]] = []
    if isinstance(result, Mapping):
        for key in ("images", "series_images"):
            for place, image in enumerate(result.get(key) or []):
                if isinstance(image, Mapping) and isinstance(image.get("url"), str):
                    index = image.get("index")
                    images.append((index if isinstance(index, int) else place, image["url"]))
    progress = data.get("progress")
    share = float(progress) if isinstance(progress, int | float) and 0 <= progress <= 1 else 0.0
    message = str(data.get("task_status_msg") or "")[:_MOST_TOLD]
    return Found(task_id, status, message, share, tuple(url for _, url in sorted(images)))


def _said(status: int, answer: Mapping[str, Any] | None) -> str:
    """The upstream's own words, in whatever shape resellers have for them."""
    found: object = (answer or {}).get("message") or (answer or {}).get("detail") or (answer or {}).get("error")
    if isinstance(found, Mapping):
        found = found.get("message")
    return found[:_MOST_TOLD] if isinstance(found, str) and found else f"HTTP {status}"


def _unfit_words(status: int, answer: Mapping[str, Any] | None) -> str:
    submitted = read_submit(status, answer)
    return submitted.why if isinstance(submitted, Unfit | Refusal | Lost) else _said(status, answer)


def _object(body: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
