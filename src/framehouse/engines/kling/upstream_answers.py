"""Classify the responses of Kling and of its resellers, which do not all follow Kling's documentation.

A response to an order counts as a refusal only if the upstream states the refusal. Every other response that contains
no task id is AnswerLost, because the upstream may have accepted the order. Every `reason` completes a sentence that
begins with "the upstream".
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from framehouse.domain.cost import Cost, reported_cost

_MAX_MESSAGE_CHARACTERS = 300
_MAX_DEPTH = 4
_MIN_EXTERNAL_ID = 16
"""The smallest length of our own external ids. Task ids of upstreams may be shorter."""
_SUCCESS_WORDS = frozenset({"success", "succeed", "succeeded", "ok"})
_STATES = {
    **dict.fromkeys(("submitted", "processing", "pending", "queued", "queueing", "waiting", "created"), "processing"),
    **dict.fromkeys(("running", "generating", "in_progress", "in_queue", "not_start", "started"), "processing"),
    **dict.fromkeys(("succeed", "succeeded", "success", "successful", "completed", "complete"), "succeed"),
    **dict.fromkeys(("finished", "finish", "done"), "succeed"),
    **dict.fromkeys(("failed", "fail", "failure", "error", "rejected", "expired", "timeout"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "cancel"), "failed"),
}
"""The words for the states of a task, in lower case and with underscores, and our words for these states."""

# Patterns that are searched in the name of an error, such as `model_not_found`.
_MODEL_NAMES = re.compile(r"model.?(not|un)|unsupported.?model|no.?available|get_channel")
_PAYMENT_NAMES = re.compile(r"insufficient|balance|quota|arrear|billing|payment")
_KEY_NAMES = re.compile(r"(invalid|wrong|incorrect).?(api.?)?(key|token)|unauthori[sz]ed|authentication|access.?denied")
_LIMIT_NAMES = re.compile(r"rate.?limit|too.?many|concurren|parallel|throttl")
_REQUEST_NAMES = re.compile(r"invalid.?(request|param|argument|input)|bad.?request|validation")
_CONTENT_NAMES = re.compile(r"content.?(policy|filter)|moderation|sensitive|nsfw|prohibited|risk.?control")
# Patterns that are searched in the name and the message of an error.
_CONTENT_WORDS = re.compile(rf"{_CONTENT_NAMES.pattern}|敏感|违规|审核")
_UNCLEAR_WORDS = re.compile(
    r"time.?d?.?out|deadline|do_request|bad.?(response|gateway)|read_response|unmarshal|reset by|closed|eof\b|超时"
)
"""Words of a proxy that sent the order to the real upstream and received no usable response."""
_DUPLICATE_WORDS = re.compile(r"external.*(already|exist|duplicate)|(already.exists|duplicate).*(external|task)")
_NOT_FOUND_WORDS = re.compile(
    r"(task|record|job|\bid\b|任务|记录)[^.]{0,300}(not.?(found|exist)|n.t.exist|不存在)"
    r"|(no such|unknown).(task|record|job|id\b)|not.?(found|exist)[^.]{0,20}(task|\bid\b)"
)
_ACCOUNT_CODES = frozenset({*range(1000, 1005), *range(1100, 1104), 1302, 1303, 1304})
_KLING_LIMIT, _KLING_BALANCE = "parallel task over resource pack", "balance not enough"

_ID_NAMES = ("task_id", "taskId", "id")
_LIST_NAMES = ("list", "items", "tasks", "records", "data", "result")
_RESULT_NAMES = ("images", "series_images", "image", "image_urls", "image_url", "image_list", "imageUrl", "urls", "url")


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
    """The upstream refused the order for a reason that is not the order. The account cannot be used for a while.

    `needs_operator` is true if only an operator can fix the problem. `certain` is false if the upstream reports an
    internal error. The upstream must then be queried for the order before the order is sent to another account.
    """

    reason: str
    needs_operator: bool = False
    certain: bool = True


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
    """The upstream returned no task with the requested id.

    `stated` is true if the upstream states that it has no such task. It is false if another cause is possible: a page
    with the HTTP status 404 can come from a proxy, and an upstream may not support the request.
    """

    stated: bool = True


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """The upstream returned no usable response to a query."""

    reason: str


@dataclass(frozen=True, slots=True)
class UpstreamTask:
    """The upstream's description of a task. `status` is `processing`, `succeed` or `failed`.

    `images` contains the URLs of the images by their place in the order. The URLs may be relative, or `data:` URLs.
    `cost` is the number of units that the upstream has charged for the task, or None if it is not known.
    """

    task_id: str
    status: str
    message: str = ""
    progress: float = 0.0
    images: Mapping[int, str] = field(default_factory=dict)
    external_id: str = ""
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response: its HTTP status, its body if it is a JSON object, and the beginning of any other body as text."""

    status: int
    answer: Mapping[str, Any] | None = None
    text: str = ""


SubmitAnswer = OrderAccepted | AccountFull | AccountUnusable | OrderRefused | AnswerLost


@dataclass(frozen=True, slots=True)
class _Error:
    """An error as the upstream reports it.

    `code` is a code of the Kling API, or 0. `name` is another code, such as `model_not_found`, in lower case, or empty.
    `status` is the HTTP status, or the code of the body if it has the form of an HTTP status.
    """

    status: int
    code: int
    name: str
    message: str


def parse_response(status: int, body: bytes) -> Response:
    """Parse the body of a response."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return Response(status, value)
    return Response(status, None, _one_line(re.sub(r"<[^>]{0,1000}>", " ", body[:2000].decode("utf-8", "replace"))))


def parse_submit_answer(response: Response) -> SubmitAnswer:
    """Classify the response to an order. Returns AnswerLost if the response is unclear.

    docs/errors.md describes the error codes of the Kling API.
    """
    answer = response.answer or {}
    task_id = _task_id(answer)
    succeeded = 200 <= response.status < 300
    code = _code(answer)
    if succeeded and task_id and (_is_success(code) or (code is None and not answer.get("error"))):
        return OrderAccepted(task_id)
    if succeeded and _is_success(code):
        return AnswerLost("accepted the order but sent no valid task id")
    error = _read_error(response)
    if task_id:
        return AnswerLost(f"returned an error together with a task id: {error.message}")
    return _classify_kling_error(error) if error.code else _classify_other_error(error)


def _classify_kling_error(error: _Error) -> SubmitAnswer:
    code, message = error.code, error.message
    if code in (1302, 1303):
        return AccountFull(concurrency=code == 1303)
    if code in (1100, 1101, 1102):
        return AccountUnusable(f"reports that the account cannot pay: {message}", needs_operator=True)
    if 1000 <= code <= 1004 or code in (1103, 1304):
        return AccountUnusable(f"refuses the account: {message}", needs_operator=True)
    if code in (1202, 1203):
        return AccountUnusable(f"does not have the model or the path: {message}", needs_operator=True)
    if 1200 <= code < 1400:
        if _DUPLICATE_WORDS.search(message.lower()):
            # The existing task is our order: the upstream accepted an earlier request whose response was lost.
            return AnswerLost(f"returned an error: {message}")
        return OrderRefused(message)
    return AnswerLost(f"returned an error: {message}")


def _classify_other_error(error: _Error) -> SubmitAnswer:
    """Classify an error without a code of the Kling API.

    The message can repeat the prompt of a client. The message alone therefore never makes a refusal certain, except for
    two messages of Kling that some resellers send without Kling's code.
    """
    status, name, message = error.status, error.name, error.message
    words = f"{name} {message}".lower()
    client_error = 400 <= status < 500
    if status == 409 or _DUPLICATE_WORDS.search(words):
        return AnswerLost(f"returned an error: {message}")
    if _CONTENT_NAMES.search(name) or (status < 500 and name and _CONTENT_WORDS.search(words)):
        return OrderRefused(message)
    if _PAYMENT_NAMES.search(name) or status == 402 or (name and _KLING_BALANCE in words):
        return AccountUnusable(f"reports that the account cannot pay: {message}", needs_operator=True)
    if _MODEL_NAMES.search(name):
        return AccountUnusable(f"does not have the model: {message}")
    if _LIMIT_NAMES.search(name) or status == 429 or (name and _KLING_LIMIT in words):
        return AccountFull(concurrency=bool(re.search("concurren|parallel", words)))
    if _KEY_NAMES.search(name) or status in (401, 403):
        return AccountUnusable(f"refuses the account: {message}", needs_operator=True)
    if status in (301, 307, 308, 404, 405):
        return AccountUnusable(f"returned HTTP {status} for the path of the order: {message}", needs_operator=True)
    if status in (408, 425, 499, 502, 504) or not name or _UNCLEAR_WORDS.search(words):
        if client_error and status not in (408, 425, 499) and (not name or _REQUEST_NAMES.search(name)):
            return OrderRefused(message)
        return AnswerLost(f"returned HTTP {status} without a valid code: {message}")
    if client_error or _REQUEST_NAMES.search(name):
        return OrderRefused(message)
    if status < 300 or status in (500, 501, 503, 529):
        return AccountUnusable(f"returned an error: {message}", certain=False)
    return AnswerLost(f"returned an error: {message}")


def parse_task_answer(response: Response, task_id: str, external_id: str) -> UpstreamTask | TaskNotFound | QueryFailed:
    """Classify the response to the query for a task by its id, or by our external id if `task_id` is empty.

    A task of another order counts as not found, because some upstreams return another task if they do not have the
    requested task. Other upstreams return the requested task with another task id, but with our external id.
    """
    id = task_id or external_id
    if 200 <= response.status < 300 and response.answer is not None:
        if len(_listed(response.answer) or ()) > 1:  # the upstream ignores the id
            return parse_list_answer(response, (task_id, external_id))[1]
        for data in _nested(response.answer):
            task = parse_task(data, queried_id=id)
            if isinstance(task, UpstreamTask):
                other = bool(task_id)
                if task.external_id:
                    other = not _is_external_id(external_id, task.external_id)
                return TaskNotFound(stated=not task_id) if other and task.task_id != id else task
            if task:
                return task
        if _is_success(_code(response.answer)) and not response.answer.get("data"):
            return TaskNotFound(stated=False)
    return parse_failed_query(response)


def _is_external_id(id: str, found: str) -> bool:
    """Return whether an external id that an upstream reports is ours.

    Some upstreams add a prefix to external ids. Shorter ids are task ids of the upstream, which must be equal.
    """
    return found == id or (len(id) >= _MIN_EXTERNAL_ID and found.endswith(id))


def parse_list_answer(
    response: Response, ids: Iterable[str]
) -> tuple[list[str], UpstreamTask | TaskNotFound | QueryFailed]:
    """Search a page of tasks for a task id or an external id. Also returns the ids of all tasks of the page."""
    tasks = _listed(response.answer or {})
    if not 200 <= response.status < 300 or tasks is None:
        failed = parse_failed_query(response)
        return [], TaskNotFound(stated=False) if isinstance(failed, TaskNotFound) else failed
    wanted = {id for id in ids if id}
    for data in tasks:
        # some upstreams add a prefix to external ids
        if _task_id_of(data) in wanted or any(_is_external_id(id, _external_id(data)) for id in wanted):
            task = parse_task(data)
            return [], task if task else QueryFailed("sent an invalid response")
    empty = not tasks and isinstance((response.answer or {}).get("data"), list | Mapping)
    stated = empty or any(_external_id(data) for data in tasks)
    return [_task_id_of(data) for data in tasks], TaskNotFound(stated=stated)


def account_problem(response: Response) -> str:
    """Return the reason why the account of a request for a list of tasks cannot be used, or an empty string.

    Some upstreams have no lists. A 404 page that is not JSON shows that `base_url` may be wrong.
    """
    if 200 <= response.status < 300 and response.answer and _is_success(_code(response.answer)):
        return ""
    _, answer = parse_list_answer(response, ())
    if isinstance(answer, QueryFailed):
        return answer.reason
    return f"returned HTTP {response.status}" if response.status >= 400 and response.answer is None else ""


def parse_failed_query(response: Response) -> TaskNotFound | QueryFailed:
    """Classify a response to a query that contains no task."""
    error = _read_error(response)
    if error.status not in (401, 402, 403, 408, 425, 429, 499) and error.code not in _ACCOUNT_CODES:
        if error.code in (1200, 1201, 1202, 1203):
            return TaskNotFound(stated=error.code in (1201, 1203))
        if response.answer and _NOT_FOUND_WORDS.search(f"{error.name} {error.message}".lower()):
            return TaskNotFound()
        if 400 <= error.status < 500:
            return TaskNotFound(stated=False)
    meaning = _classify_kling_error(error) if error.code else _classify_other_error(error)
    if isinstance(meaning, AccountUnusable | AnswerLost):
        return QueryFailed(meaning.reason)
    return QueryFailed(f"returned an error: {error.message}")


def parse_task(data: Mapping[str, Any], *, queried_id: str = "") -> UpstreamTask | QueryFailed | None:
    """Convert a task object to an UpstreamTask.

    `queried_id` is the id of the requested task, for a task object without an id. Returns None if the object is not a
    task, and QueryFailed if the state of the task is unknown. An object with another name than `task_status` for the
    state could describe the response itself. It is a task only if its id is a task id.
    """
    state = next((data[name] for name in ("task_status", "taskStatus") if data.get(name)), None)
    task_id = _task_id_of(data) or (queried_id if state else "")
    if not state and (data.get("task_id") or data.get("taskId") or task_id == queried_id or _external_id(data)):
        state = data.get("status") or data.get("state")
    if not isinstance(state, str) or not task_id:
        return None
    status = _STATES.get(re.sub(r"[\s-]+", "_", state.strip().lower()))
    if not status:
        return QueryFailed(f"reports the unknown state {json.dumps(_one_line(state)[:50])} of a task")
    progress = data.get("progress")
    share = float(progress) if isinstance(progress, int | float) and 0 <= progress <= 1 else 0.0
    texts = (data.get(name) for name in ("task_status_msg", "fail_reason", "message", "error"))
    message = next((text for value in texts if (text := _text(value))), "")
    images: Mapping[int, str] = {}
    for holder in _nested(data):
        results = (holder[name] for name in ("task_result", "result", "output", *_RESULT_NAMES) if holder.get(name))
        images = images or next((found for value in results if (found := _images_by_place(value))), {})
    cost = reported_cost(data.get("final_unit_deduction"), "units")
    return UpstreamTask(task_id, status, message, share, images, _external_id(data), cost)


def _images_by_place(result: object) -> dict[int, str]:
    """Return the URLs of a result by the place of the image in the order.

    The place is the index of the image. If an index is missing or repeated, the images are numbered in their order.
    """
    result = _decoded(result)
    found: list[tuple[int | None, str]] = []
    if isinstance(result, Mapping):
        for name in _RESULT_NAMES:
            found = found or list(_images_in(result.get(name)))
    found = found or list(_images_in(result))
    by_url: dict[str, int | None] = {}
    for index, url in found:
        by_url.setdefault(url, index)
    indexes = list(by_url.values())
    numbers = [index for index in indexes if index is not None]
    if len(numbers) < len(indexes) or len(set(numbers)) < len(numbers):
        return dict(enumerate(by_url))
    return dict(sorted(zip(numbers, by_url, strict=True)))


def _images_in(value: object, depth: int = 0) -> Iterator[tuple[int | None, str]]:
    """Yield the index and the URL of each image in a value. The index is None if the image has no index."""
    if depth > _MAX_DEPTH:
        return
    value = _decoded(value)
    if isinstance(value, str):
        if value.strip():
            yield None, value.strip()
    elif isinstance(value, list):
        for item in value:
            yield from _images_in(item, depth + 1)
    elif isinstance(value, Mapping):
        for name in ("url", "image_url", "imageUrl", "image", "resource", "download_url", "src"):
            for _, url in _images_in(value.get(name), depth + 1):
                yield _integer(value.get("index")), url
                return
        if isinstance(encoded := value.get("b64_json") or value.get("base64"), str):
            yield _integer(value.get("index")), f"data:;base64,{encoded.strip()}"
            return
        for item in value.values():
            if isinstance(item, Mapping | list):
                yield from _images_in(item, depth + 1)


def _decoded(value: object) -> object:
    """Return a value. If the value is text that contains a JSON object or list, return that object or list."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _nested(answer: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that may be the task: `data`, the data of `data`, and so on, and the object itself.

    A list with one element counts as this element.
    """
    first, value = answer, answer
    for _ in range(_MAX_DEPTH):
        value = value.get("data") if isinstance(value, Mapping) else None
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, Mapping):
            yield value
    if isinstance(first, Mapping):
        yield first


def _listed(answer: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the tasks of a page, or None if the response contains no list."""
    code, value = _code(answer), answer.get("data")
    if value is None and _is_success(code):
        return []
    if isinstance(value, Mapping):
        value = next((value[name] for name in _LIST_NAMES if isinstance(value.get(name), list)), None)
    if not isinstance(value, list) or not (_is_success(code) or code is None):
        return None
    return [item for item in value if isinstance(item, Mapping)]


def _external_id(data: Mapping[str, Any]) -> str:
    info = data.get("task_info")
    values = [info.get("external_task_id")] if isinstance(info, Mapping) else []
    values += [data.get("external_task_id"), data.get("externalTaskId")]
    return next((value for value in values if isinstance(value, str) and value), "")


def _task_id(answer: Mapping[str, Any]) -> str:
    """Return the task id of the response to an order, or an empty string."""
    data = answer.get("data")
    data = data[0] if isinstance(data, list) and len(data) == 1 else data
    found = _task_id_of(data) if isinstance(data, Mapping) else ""
    return found or _task_id_of(answer)


def _task_id_of(data: Mapping[str, Any]) -> str:
    """Return the task id of a task object, or an empty string. Some upstreams use numbers as ids."""
    for name in _ID_NAMES:
        value = data.get(name)
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(value, str) and 1 <= len(value) <= 255 and value.isprintable():
            return value
    return ""


def _is_success(code: int | str | None) -> bool:
    return code in _SUCCESS_WORDS if isinstance(code, str) else code is not None and (code == 0 or 200 <= code < 300)


def _code(answer: Mapping[str, Any]) -> int | str | None:
    """Return the code of a response as a number or as a word in lower case, or None if the response has no code."""
    error = answer.get("error")
    nested = error if isinstance(error, Mapping) else {}
    word = error if isinstance(error, str) and re.fullmatch(r"[\w.:-]{1,100}", error) else None
    for value in (answer.get("code"), nested.get("code"), nested.get("type"), word):
        number = _integer(value)
        if number is not None:
            return number
        if isinstance(value, str) and value.strip():
            return value.strip().lower()[:100]
    failed = nested or answer.get("success") is False or answer.get("status") in ("error", "fail", "failed")
    return "error" if failed else None


def _read_error(response: Response) -> _Error:
    """Return the error of a response.

    Some resellers send the body of Kling's response as the text of their own error. The code and the message of this
    body are then used.
    """
    answer = response.answer or {}
    code, message = _code(answer), _error_message(response)
    if isinstance(code, str) and not _is_success(code):
        inner = _parse_object(_full_message(answer))
        inner_code = _code(inner)
        if isinstance(inner_code, int) and inner_code >= 1000:
            code, message = inner_code, _error_message(Response(response.status, inner))
    if isinstance(code, int) and code >= 1000:
        return _Error(response.status, code, "", message)
    status = response.status
    if isinstance(code, int) and 400 <= code < 600:
        status = code if status < 300 else status
        return _Error(status, 0, "error" if code in (500, 503) else "", message)
    name = "" if code is None or _is_success(code) else str(code)
    return _Error(status, 0, name, message)


def _full_message(answer: Mapping[str, Any]) -> str:
    """Return the upstream's error message, or an empty string. Resellers send the message in different fields."""
    error = answer.get("error")
    values: list[object] = [answer.get(name) for name in ("message", "msg", "detail", "error_message")]
    values += [error.get("message")] if isinstance(error, Mapping) else [error]
    values += [answer.get("fail_reason")]
    return next((value for value in values if isinstance(value, str) and value), "")


def _error_message(response: Response) -> str:
    """Return the upstream's error message, or the HTTP status if the response contains no message."""
    message = _full_message(response.answer) if response.answer else response.text
    return _one_line(message)[:_MAX_MESSAGE_CHARACTERS] or f"HTTP {response.status}"


def _text(value: object) -> str:
    text = value.get("message") if isinstance(value, Mapping) else value
    return _one_line(text)[:_MAX_MESSAGE_CHARACTERS] if isinstance(text, str) else ""


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())


def _integer(value: object) -> int | None:
    """Return a number, or text that contains a number, as an integer. Returns None for all other values."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parse_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
