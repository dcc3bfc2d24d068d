"""Send HTTP requests to an upstream that implements the Kling API, and classify the responses.

This module never repeats a request. If a response does not clearly state whether the upstream accepted an order, the
result is AnswerLost, and the calling code must query the upstream. Every `reason` completes a sentence that begins with
"the upstream".
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from framehouse.adapters.telemetry import spans
from framehouse.adapters.tls import tls_context
from framehouse.domain.task_kind import TASK_PATHS, TaskKind

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 10.0
_MAX_ANSWER_BYTES = 10_000_000
_MAX_MESSAGE_CHARACTERS = 300
_LIST_PAGE = 100


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    """The upstream accepted the order as its task `task_id`."""

    task_id: str


@dataclass(frozen=True, slots=True)
class AccountFull:
    """The upstream refused the order because of a limit. The order may be sent again later, or with another account.

    `concurrency` is true for the limit on images in flight, and false for the limit on requests per second.
    """

    concurrency: bool


@dataclass(frozen=True, slots=True)
class AccountUnusable:
    """The upstream did not accept the order, and the account cannot be used for a while.

    `needs_operator` is true if only an operator can fix the problem.
    """

    reason: str
    needs_operator: bool = False


@dataclass(frozen=True, slots=True)
class OrderRefused:
    """The upstream refused the order and will never accept it. `message` is the upstream's own message."""

    message: str


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The response was lost or unclear, so it is not known whether the upstream accepted the order."""

    reason: str


@dataclass(frozen=True, slots=True)
class TaskNotFound:
    """The upstream has no task with the requested id."""


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """The upstream returned no usable response to a query."""

    reason: str


@dataclass(frozen=True, slots=True)
class UpstreamTask:
    """The upstream's description of a task. `image_urls` is sorted by the index of the images."""

    task_id: str
    status: str
    message: str = ""
    progress: float = 0.0
    image_urls: tuple[str, ...] = field(default=())


SubmitAnswer = OrderAccepted | AccountFull | AccountUnusable | OrderRefused | AnswerLost


class Upstream:
    """A client for one upstream. The paths of the Kling API are appended to `base_url`.

    Creating the object opens no connection.
    """

    def __init__(self, base_url: str, *, answer_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._answer_s = answer_s
        self._posts: httpx.AsyncClient | None = None
        self._gets: httpx.AsyncClient | None = None

    async def submit(self, kind: TaskKind, body: Mapping[str, Any], authorization: str) -> SubmitAnswer:
        """Send an order exactly once, to the endpoint of its kind."""
        import httpx

        headers = {"Idempotency-Key": str(body["external_task_id"])}
        try:
            status, answer = await self._request("POST", TASK_PATHS[kind], authorization, json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return AccountUnusable(f"cannot be reached: {type(error).__name__}")  # nothing was sent
        except (httpx.HTTPError, ValueError) as error:
            return AnswerLost(f"sent no complete response: {type(error).__name__}")
        return parse_submit_answer(status, answer)

    async def find(self, kind: TaskKind, id: str, authorization: str) -> UpstreamTask | TaskNotFound | QueryFailed:
        """Query a task. `id` is the upstream's task id or our external id."""
        answer = await self._get(f"{TASK_PATHS[kind]}/{quote(id, safe='')}", authorization)
        if isinstance(answer, TaskNotFound | QueryFailed):
            return answer
        data = answer.get("data")
        task = parse_task(data) if isinstance(data, Mapping) else None
        return task or QueryFailed("sent an invalid response")

    async def find_in_list(
        self, kind: TaskKind, external_id: str, authorization: str
    ) -> UpstreamTask | TaskNotFound | QueryFailed:
        """Search the newest 100 tasks for our external id, because some upstreams cannot find a task by this id."""
        answer = await self._get(f"{TASK_PATHS[kind]}?pageNum=1&pageSize={_LIST_PAGE}", authorization)
        if isinstance(answer, TaskNotFound | QueryFailed):
            return answer
        listed = answer.get("data")
        for data in listed if isinstance(listed, list) else []:
            info = data.get("task_info") if isinstance(data, Mapping) else None
            if isinstance(info, Mapping) and info.get("external_task_id") == external_id:
                return parse_task(data) or QueryFailed("sent an invalid response")
        return TaskNotFound() if isinstance(listed, list) else QueryFailed("sent an invalid response")

    async def check_account(self, authorization: str) -> str:
        """Return the reason why the account cannot be used, or an empty string if the upstream accepts the account.

        The check incurs no costs.
        """
        answer = await self._get(f"{TASK_PATHS['omni-image']}?pageNum=1&pageSize=1", authorization)
        return answer.reason if isinstance(answer, QueryFailed) else ""

    async def cancel(self, kind: TaskKind, task_id: str, authorization: str) -> None:
        """Request the cancellation of a task.

        Framehouse is the only known upstream that supports this request. Errors are ignored.
        """
        import httpx

        try:
            await self._request("POST", f"{TASK_PATHS[kind]}/{quote(task_id, safe='')}/cancel", authorization)
        except (httpx.HTTPError, ValueError):
            return

    async def close(self) -> None:
        for client in (self._posts, self._gets):
            if client:
                await client.aclose()

    async def _get(self, path: str, authorization: str) -> Mapping[str, Any] | TaskNotFound | QueryFailed:
        import httpx

        try:
            status, answer = await self._request("GET", path, authorization)
        except (httpx.HTTPError, ValueError) as error:
            return QueryFailed(f"cannot be reached: {type(error).__name__}")
        code = answer.get("code") if answer else None
        if answer is not None and status == 200 and code == 0:
            return answer
        if status in (400, 404) and code in (1200, 1201, 1202, 1203):
            return TaskNotFound()
        return QueryFailed(_failure_reason(status, answer))

    async def _request(
        self,
        method: str,
        path: str,
        authorization: str,
        *,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, Any] | None]:
        """Send a request. Returns the status and the JSON object of the response.

        The object is None if the body is not a JSON object. Raises httpx.HTTPError if no complete response is received,
        and ValueError if the response is too large.
        """
        client = self._client(method)
        headers = {
            "Authorization": authorization,
            "Accept": "application/json",
            **spans.trace_headers(),
            **(headers or {}),
        }
        async with client.stream(method, f"{self.base_url}{path}", headers=headers, json=json) as answer:
            body = bytearray()
            async for chunk in answer.aiter_bytes(65536):
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    raise ValueError("the response is too large")
            return answer.status_code, _parse_object(bytes(body))

    def _client(self, method: str) -> "httpx.AsyncClient":
        import httpx

        timeout = httpx.Timeout(self._answer_s, connect=_CONNECT_S, pool=_CONNECT_S)
        if method == "GET":
            self._gets = self._gets or httpx.AsyncClient(trust_env=False, timeout=timeout, verify=tls_context())
            return self._gets
        if self._posts is None:
            # Each order uses a new connection. If an order reused an idle connection, the upstream could close the
            # connection while the order is being sent. It would then be unknown whether the upstream received the
            # order.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._posts = httpx.AsyncClient(trust_env=False, timeout=timeout, limits=limits, verify=tls_context())
        return self._posts


def parse_submit_answer(status: int, answer: Mapping[str, Any] | None) -> SubmitAnswer:
    """Classify the response to an order. Returns AnswerLost if the response is unclear.

    docs/errors.md describes the error codes.
    """
    code = answer.get("code") if answer else None
    if answer is None or not isinstance(code, int) or isinstance(code, bool):
        if status in (401, 403):
            return AccountUnusable(f"refuses the account (HTTP {status})", needs_operator=True)
        if status == 429:
            return AccountFull(concurrency=False)
        if 400 <= status < 500 and status not in (408, 425, 499):
            return OrderRefused(_error_message(status, answer))
        return AnswerLost(f"returned HTTP {status} without a valid code")
    if code == 0:
        data = answer.get("data")
        task_id = data.get("task_id") if isinstance(data, Mapping) else None
        if 200 <= status < 300 and isinstance(task_id, str) and 1 <= len(task_id) <= 255 and task_id.isprintable():
            return OrderAccepted(task_id)
        return AnswerLost("accepted the order but sent no valid task id")
    message = _error_message(status, answer)
    if code in (1302, 1303):
        return AccountFull(concurrency=code == 1303)
    if code in (1100, 1101, 1102):
        return AccountUnusable(f"reports that the account cannot pay: {message}", needs_operator=True)
    if 1000 <= code <= 1004 or code == 1103:
        return AccountUnusable(f"refuses the account: {message}", needs_operator=True)
    if 1200 <= code < 1400:
        if "already exists" in message.lower() and "external" in message.lower():
            # The existing task is our order: the upstream accepted an earlier request whose response was lost.
            return AnswerLost(f"returned an error: {message}")
        return OrderRefused(message)
    return AnswerLost(f"returned an error: {message}")


def parse_task(data: Mapping[str, Any]) -> UpstreamTask | None:
    """Convert a task object of the Kling API to an UpstreamTask.

    Returns None if the task's id or status is missing or invalid.
    """
    task_id, status = data.get("task_id"), data.get("task_status")
    if not isinstance(task_id, str) or not task_id or status not in ("submitted", "processing", "succeed", "failed"):
        return None
    result = data.get("task_result")
    images: list[tuple[int, str]] = []
    if isinstance(result, Mapping):
        for key in ("images", "series_images"):
            for position, image in enumerate(result.get(key) or []):
                if isinstance(image, Mapping) and isinstance(image.get("url"), str):
                    index = image.get("index")
                    images.append((index if isinstance(index, int) else position, image["url"]))
    progress = data.get("progress")
    share = float(progress) if isinstance(progress, int | float) and 0 <= progress <= 1 else 0.0
    message = str(data.get("task_status_msg") or "")[:_MAX_MESSAGE_CHARACTERS]
    return UpstreamTask(task_id, status, message, share, tuple(url for _, url in sorted(images)))


def _error_message(status: int, answer: Mapping[str, Any] | None) -> str:
    """Return the upstream's error message, or the HTTP status if the response contains no message.

    The function checks several fields, because resellers send the message in different fields.
    """
    message: object = (answer or {}).get("message") or (answer or {}).get("detail") or (answer or {}).get("error")
    if isinstance(message, Mapping):
        message = message.get("message")
    return message[:_MAX_MESSAGE_CHARACTERS] if isinstance(message, str) and message else f"HTTP {status}"


def _failure_reason(status: int, answer: Mapping[str, Any] | None) -> str:
    meaning = parse_submit_answer(status, answer)
    if isinstance(meaning, AccountUnusable | AnswerLost):
        return meaning.reason
    return (
        f"returned an error: {meaning.message if isinstance(meaning, OrderRefused) else _error_message(status, answer)}"
    )


def _parse_object(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
