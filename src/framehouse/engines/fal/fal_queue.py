"""Send requests to fal's queue and storage, and classify the responses.

This module never repeats a request. The errors never quote the prompt or the key. Every `reason` completes a sentence
that begins with "fal".
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from framehouse.domain.cost import Cost, reported_cost
from framehouse.domain.errors import Broken, Declined, Unavailable
from framehouse.domain.field_reader import url_problem
from framehouse.engines.error_replies import (
    KEY_COOLDOWN_S,
    ErrorDetails,
    error_details,
    error_from_details,
    is_policy_code,
)
from framehouse.engines.fal.fal_orders import FalOrder
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown, Reply, open_client, send_request
from framehouse.engines.image_files import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    import httpx

_MAX_SMALL_ANSWER_BYTES = 1_000_000
_MAX_ERROR_BYTES = 20_000_000
"""The maximum size of an error. It may repeat the arguments of the request, which contain images."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TYPE = re.compile(r"[a-z][a-z_.]{0,59}")
_NO_REQUEST = "00000000-0000-0000-0000-000000000000"
_NAMESPACES = ("workflows", "comfy")
"""The first part of models whose owner and app are the second and the third part of their name."""
_FAILURES = {
    "internal_server_error",
    "generation_timeout",
    "downstream_service_error",
    "downstream_service_unavailable",
}
"""The types of errors for which the request itself is not the cause."""


@dataclass(frozen=True, slots=True)
class FalQueryFailed:
    """fal returned no usable response to a query. The request may still be running."""

    reason: str


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """The state of a request. `running` is true if a machine processes it, and `ended` if it has a final result."""

    running: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class FalResult:
    """The result of a request: the answer of the model, and the units that fal charges, or None if they are not known.

    The meaning of a unit depends on the model. A unit can be an image, a megapixel or a second of computing time.
    """

    answer: Mapping[str, Any]
    cost: Cost | None


class RequestFailed(Exception):
    """Raised when the request ended without a result, and another attempt may succeed. fal does not charge for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FalQueue:
    """A client for fal's queue and storage. Creating the object opens no connection."""

    def __init__(self, *, queue_url: str, storage_url: str, api_key: str, answer_s: float) -> None:
        self.queue_url = queue_url
        self._storage_url = storage_url
        self._api_key = api_key
        self._answer_s = answer_s
        self._client: httpx.AsyncClient | None = None
        self._uploads: httpx.AsyncClient | None = None

    async def submit(self, order: FalOrder, body: bytes, callback_url: str | None, hidden: Iterable[str]) -> FalOrder:
        """Send a request once. Returns the order with its request id and URLs.

        Raises NotAccepted if nothing was sent or fal refused the request for now, Declined or Broken if fal refused the
        request, and OutcomeUnknown if the response is lost.
        """
        query = f"?fal_webhook={quote(callback_url, safe='')}" if callback_url else ""
        try:
            reply = await self._send("POST", f"{self.queue_url}/{order.model}{query}", content=body)
        except Broken as error:
            raise OutcomeUnknown(f"returned no request id: {error.message}") from error
        if reply.status not in (200, 201, 202):
            raise self._error(reply, hidden)
        answer = _object(reply.body)
        request_id = answer.get("request_id")
        if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
            raise OutcomeUnknown("accepted the request but returned no valid request id")
        return replace(
            order,
            request_id=request_id,
            status_url=str(answer.get("status_url") or ""),
            response_url=str(answer.get("response_url") or ""),
            cancel_url=str(answer.get("cancel_url") or ""),
        )

    async def status(self, order: FalOrder) -> RequestStatus | FalQueryFailed:
        try:
            reply = await self._send("GET", self._url(order, "status"))
        except (NotAccepted, OutcomeUnknown) as error:
            return FalQueryFailed(error.reason)
        except Broken as error:
            return FalQueryFailed(f"sent an invalid response: {error.message}")
        state = _object(reply.body).get("status") if reply.status in (200, 202) else None
        if not isinstance(state, str) or not state:
            return FalQueryFailed(f"did not return the status of the request (HTTP {reply.status})")
        return RequestStatus(running=state == "IN_PROGRESS", ended=state not in ("IN_QUEUE", "IN_PROGRESS"))

    async def result(self, order: FalOrder, hidden: Iterable[str]) -> FalResult | FalQueryFailed:
        """Return the result of a request that has ended.

        Raises Declined or Broken if the model refused the request, and RequestFailed if fal could not process it.
        """
        try:
            reply = await self._send(
                "GET", self._url(order, "response"), max_bytes=MAX_ANSWER_BYTES * max(1, len(order.shots))
            )
        except (NotAccepted, OutcomeUnknown) as error:
            return FalQueryFailed(error.reason)
        if reply.status == 200:
            answer = _object(reply.body)
            cost = reported_cost(reply.headers.get("x-fal-billable-units"), "units")
            return FalResult(answer, cost) if answer else FalQueryFailed("sent an invalid result")
        return _failed_result(reply, (*hidden, self._api_key))

    async def cancel(self, order: FalOrder) -> None:
        """Request the cancellation of a request. Errors are ignored, because the images are no longer needed."""
        try:
            await self._send("PUT", self._url(order, "cancel"))
        except (NotAccepted, OutcomeUnknown, Broken):
            return

    async def check(self, model: str) -> None:
        """Query a request that does not exist, which costs nothing.

        Raises NotAccepted or OutcomeUnknown if fal cannot be used.
        """
        reply = await self._send("GET", self._url(FalOrder((), model, _NO_REQUEST), "status"))
        if reply.status in (401, 402, 403, 429) or reply.status >= 500 or 300 <= reply.status < 400:
            raise self._error(reply, ())

    async def upload(self, content: bytes, name: str, media_type: str) -> str:
        """Upload a file to fal's storage, and return its URL. Raises NotAccepted or Unavailable."""
        url = f"{self._storage_url}/storage/upload/initiate?storage_type=fal-cdn-v3"
        try:
            reply = await self._send("POST", url, json={"content_type": media_type, "file_name": name})
            if reply.status not in (200, 201):
                raise self._error(reply, ())
            answer = _object(reply.body)
            upload_url, file_url = answer.get("upload_url"), answer.get("file_url")
            if not all(isinstance(url, str) and not url_problem(url) for url in (upload_url, file_url)):
                raise Unavailable("fal's storage returned no valid URL for a reference")
            target, storage = urlsplit(str(upload_url)), urlsplit(self._storage_url)
            if target.scheme != "https" and target.netloc != storage.netloc:
                raise Unavailable("fal's storage returned a URL without encryption for a reference")
            # without the key, because the URL may belong to another service
            self._uploads = self._uploads or open_client({})
            reply = await send_request(
                self._uploads,
                "PUT",
                str(upload_url),
                timeout_s=self._answer_s,
                max_bytes=_MAX_SMALL_ANSWER_BYTES,
                content=content,
                headers={"Content-Type": media_type},
            )
        except OutcomeUnknown as error:
            raise Unavailable(f"fal's storage {error.reason}") from error
        except (Broken, Declined) as error:
            raise Unavailable(f"fal's storage refused a reference: {error.message}") from error
        if not 200 <= reply.status < 300:
            raise Unavailable(f"fal's storage refused a reference (HTTP {reply.status})")
        return str(file_url)

    async def close(self) -> None:
        for client in (self._client, self._uploads):
            if client is not None:
                await client.aclose()
        self._client = self._uploads = None

    def _url(self, order: FalOrder, action: str) -> str:
        """Return the URL of a request to which `action` applies: "status", "response" or "cancel".

        The URL in fal's response is used only if it belongs to `queue_url`, because requests contain the key.
        """
        url: str = getattr(order, f"{action}_url")
        if url.startswith(f"{self.queue_url}/") and not url_problem(url):
            return url
        parts = order.model.split("/")
        app = "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])
        path = f"{self.queue_url}/{app}/requests/{order.request_id}"
        return path if action == "response" else f"{path}/{action}"

    async def _send(self, method: str, url: str, *, max_bytes: int = _MAX_SMALL_ANSWER_BYTES, **content: Any) -> Reply:
        if self._client is None:
            headers = {"Authorization": f"Key {self._api_key}", "Content-Type": "application/json"}
            self._client = open_client(headers)
        return await send_request(
            self._client,
            method,
            url,
            timeout_s=self._answer_s,
            max_bytes=max_bytes,
            max_error_bytes=_MAX_ERROR_BYTES,
            **content,
        )

    def _error(self, reply: Reply, hidden: Iterable[str]) -> Exception:
        """Return the exception for a response that does not accept a request."""
        message = error_details(reply.body, dict.fromkeys((*hidden, self._api_key), "…")).message
        if reply.status == 402 or (reply.status == 403 and "balance" in message.lower()):
            return NotAccepted("reports that the balance of the account is used up", cooldown_s=KEY_COOLDOWN_S)
        if reply.status == 403 and "locked" in message.lower():
            return NotAccepted("reports that the account is locked", cooldown_s=KEY_COOLDOWN_S)
        if reply.status == 404:
            return NotAccepted("has no such model or URL (HTTP 404)", cooldown_s=KEY_COOLDOWN_S)
        return error_from_details(
            reply, ErrorDetails(message, frozenset({_error_type(reply)})), paid=True, server="fal"
        )


def _failed_result(reply: Reply, hidden: Iterable[str]) -> FalQueryFailed:
    """Classify a response without a result. Raises the errors of `FalQueue.result`.

    Errors of a model contain a list of objects with types. Errors of the queue contain a text and one type. If the
    response is neither, the result could not be read. This is not a failure of the request, and the calling code
    queries the result again.
    """
    message = error_details(reply.body, dict.fromkeys(hidden, "…")).message
    detail, type_ = _object(reply.body).get("detail"), _error_type(reply)
    described = f"HTTP {reply.status}" + (f": {message}" if message else "")
    if isinstance(detail, list):
        failed, refused = reply.status >= 500 or type_ in _FAILURES, True
    else:
        failed = bool(type_ or (reply.status == 500 and detail)) and (reply.status == 400 or reply.status >= 500)
        refused = reply.status in (400, 413, 422) and "in progress" not in message.lower()
    if failed and not is_policy_code(type_):
        raise RequestFailed(f"could not process the request ({type_ or described})")
    if refused:
        error = error_from_details(
            replace(reply, status=422), ErrorDetails(message, frozenset({type_})), paid=True, server="fal"
        )
        raise error if isinstance(error, Declined) else Broken(f"fal returned {described}")
    return FalQueryFailed(f"did not return the result of the request ({described})")


def _error_type(reply: Reply) -> str:
    """Return the type of an error, or an empty string. If there are several types, a violation of the content policy is
    returned first."""
    answer = _object(reply.body)
    detail = answer.get("detail")
    items = [item for item in detail if isinstance(item, dict)] if isinstance(detail, list) else []
    types = [item.get("type") for item in items]
    types += [answer.get("error_type"), reply.headers.get("x-fal-error-type")]
    valid = [type_ for type_ in types if isinstance(type_, str) and _TYPE.fullmatch(type_)]
    return next((type_ for type_ in valid if is_policy_code(type_)), valid[0] if valid else "")


def _object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in the body, or an empty mapping."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
