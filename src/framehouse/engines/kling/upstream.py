"""Send HTTP requests to an upstream that implements the Kling API.

This module never repeats a request. If a response does not clearly state whether the upstream accepted an order, the
result is AnswerLost, and the calling code must query the upstream. `upstream_answers` classifies the responses.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from framehouse.adapters.telemetry import spans
from framehouse.adapters.tls import tls_context
from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from framehouse.engines.kling.upstream_answers import (
    AccountUnusable,
    AnswerLost,
    QueryFailed,
    Response,
    SubmitAnswer,
    TaskNotFound,
    UpstreamTask,
    account_problem,
    parse_list_answer,
    parse_response,
    parse_submit_answer,
    parse_task_answer,
)

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 10.0
_MAX_ANSWER_BYTES = 10_000_000
_LIST_PAGE = 100
_MAX_LIST_PAGES = 10
_SHORTEST_KEY = 16


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
            response = await self._request("POST", TASK_PATHS[kind], authorization, json=body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return AccountUnusable(f"cannot be reached: {type(error).__name__}")  # nothing was sent
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            return AnswerLost(f"sent no complete response: {type(error).__name__}")
        return parse_submit_answer(response)

    async def find(
        self, kind: TaskKind, external_id: str, task_id: str, authorization: str
    ) -> UpstreamTask | TaskNotFound | QueryFailed:
        """Find the task of an order, by its task id if that is known, and by our external id otherwise.

        Some upstreams cannot find a task by this id, so the newest 1,000 tasks of the account are then searched. The
        result is TaskNotFound only if the upstream states that it does not have the task.
        """
        id = task_id or external_id
        response = await self._get(f"{TASK_PATHS[kind]}/{quote(id, safe='')}", authorization)
        if isinstance(response, QueryFailed):
            return response
        answer = parse_task_answer(response, task_id, external_id)
        if isinstance(answer, UpstreamTask) or (isinstance(answer, QueryFailed) and task_id):
            return answer
        listed = await self._find_in_list(kind, (task_id, external_id), authorization)
        if isinstance(answer, QueryFailed):  # some upstreams fail to process an unknown id
            return listed if isinstance(listed, UpstreamTask) else answer
        if isinstance(listed, TaskNotFound) and not (answer.stated or listed.stated):
            return QueryFailed(f"returned HTTP {response.status} and does not state whether it has the order")
        return listed

    async def _find_in_list(
        self, kind: TaskKind, ids: tuple[str, str], authorization: str
    ) -> UpstreamTask | TaskNotFound | QueryFailed:
        known: set[str] = set()
        stated = False
        for page in range(1, _MAX_LIST_PAGES + 1):
            response = await self._get(f"{TASK_PATHS[kind]}?pageNum={page}&pageSize={_LIST_PAGE}", authorization)
            if isinstance(response, QueryFailed):
                return response
            listed, answer = parse_list_answer(response, ids)
            if not isinstance(answer, TaskNotFound):
                return answer
            stated = stated or answer.stated
            if known.issuperset(listed):  # the last page, or an upstream that ignores the number of the page
                break
            known.update(listed)
        return TaskNotFound(stated=stated)

    async def check_account(self, authorization: str) -> str:
        """Return the reason why the account cannot be used, or an empty string if the upstream accepts the account.

        The check incurs no costs.
        """
        response = await self._get(f"{TASK_PATHS['omni-image']}?pageNum=1&pageSize=1", authorization)
        if isinstance(response, QueryFailed):
            return response.reason
        return account_problem(response)

    async def cancel(self, kind: TaskKind, task_id: str, authorization: str) -> None:
        """Request the cancellation of a task.

        Framehouse is the only known upstream that supports this request. Errors are ignored.
        """
        import httpx

        try:
            await self._request("POST", f"{TASK_PATHS[kind]}/{quote(task_id, safe='')}/cancel", authorization)
        except (httpx.HTTPError, TimeoutError, ValueError):
            return

    async def close(self) -> None:
        for client in (self._posts, self._gets):
            if client:
                await client.aclose()

    async def _get(self, path: str, authorization: str) -> Response | QueryFailed:
        import httpx

        try:
            return await self._request("GET", path, authorization)
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            return QueryFailed(f"cannot be reached: {type(error).__name__}")

    async def _request(
        self,
        method: str,
        path: str,
        authorization: str,
        *,
        json: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request.

        Raises httpx.HTTPError or TimeoutError if no complete response is received, and ValueError if the response is
        too large.
        """
        client = self._client(method)
        headers = {
            "Authorization": authorization,
            "Accept": "application/json",
            **spans.trace_headers(),
            **(headers or {}),
        }
        async with (
            asyncio.timeout(self._answer_s + _CONNECT_S),
            client.stream(method, f"{self.base_url}{path}", headers=headers, json=json) as answer,
        ):
            body = bytearray()
            async for chunk in answer.aiter_bytes(65536):
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    raise ValueError("the response is too large")
            key = authorization.removeprefix("Bearer ").encode()
            if len(key) >= _SHORTEST_KEY:  # an error message can quote the key, and messages are logged
                body = body.replace(key, b"***")
            return parse_response(answer.status_code, bytes(body))

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
