"""Send requests and repeat them after temporary errors."""

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from framehouse_client import __version__
from framehouse_client.answers import Answer, parse_answer
from framehouse_client.connection import Connection
from framehouse_client.effects import NoResponse, Request, Response, Steps, send, sleep
from framehouse_client.errors import ConnectionFailed, FramehouseError, ServerError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_FIRST_CONTACT_S = 2.0
"""The time in seconds for which a request is repeated if the server cannot be reached and never responded before. The
URL is then probably wrong."""
_logger = logging.getLogger("framehouse_client")
USER_AGENT = f"framehouse-client/{__version__}"


class Retries:
    """The pauses between the attempts of one request. The time begins with the first failed attempt."""

    def __init__(self, connection: Connection, *, until: float | None = None) -> None:
        self._connection = connection
        self._until = until
        self._first_failure: float | None = None
        self._attempt = 0

    def pause_s(self, retry_after_s: float | None = None, *, unreachable: bool = False) -> float | None:
        """Return the pause before the next attempt in seconds, or None if the time is over.

        The backoff pause doubles after each attempt and has jitter. A server can request a longer pause.
        """
        now = time.monotonic()
        if self._first_failure is None:
            self._first_failure = now
        retry_s = self._connection.retry_s
        if unreachable and not self._connection.reached:
            retry_s = min(retry_s, _FIRST_CONTACT_S)
        backoff_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._attempt, 10)) * random.uniform(0.5, 1.0)
        pause_s = max(backoff_s, retry_after_s or 0.0)
        self._attempt += 1
        if now + pause_s >= self._first_failure + retry_s:
            return None
        if self._until is None:
            return pause_s
        return min(pause_s, self._until - now) if now < self._until else None


def send_once(connection: Connection, request: Request) -> Steps[Response | NoResponse]:
    """Send a request to the server with the key, and learn from the response."""
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", **request.headers, **connection.headers()}
    outcome = yield from send(replace(request, headers=headers))
    connection.learn(outcome)
    return outcome


def repeat(connection: Connection, request: Request, *, until: float | None = None) -> Steps[Answer]:
    """Send a request that has no effect if it is sent again. Return the answer if it states success.

    Temporary errors are retried, at most until the monotonic time `until`. Raises FramehouseError.
    """
    retries = Retries(connection, until=until)
    while True:
        outcome = yield from send_once(connection, request)
        if isinstance(outcome, NoResponse):
            error: FramehouseError = connection_failed(connection, outcome)
            pause_s = retries.pause_s(unreachable=not outcome.sent)
        else:
            answer = checked_answer(outcome)
            if answer.success:
                return answer
            error = answer.error()
            pause_s = retries.pause_s(answer.retry_after_s) if answer.is_temporary else None
        if pause_s is None:
            raise error
        yield from pause(pause_s, error)


def pause(seconds: float, error: FramehouseError) -> Steps[None]:
    """Wait before the next attempt after an error."""
    _logger.info("Trying again in %.1f s: %s", seconds, error)
    yield from sleep(seconds)


def get(connection: Connection, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> Steps[Answer]:
    """Send a GET request. `options` are the options of a Request and of `repeat`."""
    until = options.pop("until", None)
    url = connection.url(path) + (f"?{urlencode(query, safe=',')}" if query else "")
    answer = yield from repeat(connection, Request(method="GET", url=url, **options), until=until)
    return answer


def post(connection: Connection, path: str, json: Mapping[str, Any]) -> Steps[Answer]:
    """Send a POST request that can be repeated without harm."""
    answer = yield from repeat(connection, Request(method="POST", url=connection.url(path), json=json))
    return answer


def checked_answer(response: Response) -> Answer:
    """Parse a response of the API. Raises ServerError if the response is too large or a redirect."""
    if response.too_large:
        raise ServerError("the response of the server is too large", status=response.status)
    if 300 <= response.status < 400:
        location = response.headers.get("location", "another URL")
        raise ServerError(f"the server redirects to {location}; use this URL", status=response.status)
    return parse_answer(response)


def connection_failed(connection: Connection, outcome: NoResponse) -> ConnectionFailed:
    return ConnectionFailed(f"cannot reach {connection.base_url}: {outcome.reason}")


def path_segment(id: str) -> str:
    """Return an id as a part of a path. An external id can contain any character."""
    return quote(id, safe="")
