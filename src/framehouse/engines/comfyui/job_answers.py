"""Interpret the responses of ComfyUI about a job. The functions in this module do no I/O.

The messages are for clients. They contain the words of the nodes, but no paths of the server and no inputs of nodes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from framehouse.engines.http_exchange import one_line

_FOLDERS = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[^\s\\/:'\"]+[\\/])+")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"]+", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"out ?of ?memory|allocation on device|not enough memory", re.IGNORECASE)


class BadAnswer(Exception):
    """Raised when a response does not have the format of ComfyUI's API."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """An image file on a ComfyUI server. `type` is `output` or `temp`."""

    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True, slots=True)
class JobSucceeded:
    """A finished job with its image files."""

    files: tuple[OutputFile, ...]


@dataclass(frozen=True, slots=True)
class JobFailed:
    """A failed job. `message` continues a sentence that begins with the name of the server."""

    message: str
    cause: Literal["error", "memory", "interrupt"]


def is_in_queue(body: bytes, job_id: str) -> bool:
    """Return whether a job is waiting or running. `body` is the response of /queue. Raises BadAnswer."""
    return any(_id_of(item) == job_id for name in ("queue_running", "queue_pending") for item in _items(body, name))


def is_running(body: bytes, job_id: str) -> bool:
    """Return whether a job is running. `body` is the response of /queue. Raises BadAnswer."""
    return any(_id_of(item) == job_id for item in _items(body, "queue_running"))


def queue_length(body: bytes) -> int:
    """Return the number of waiting and running jobs of all clients. `body` is the response of GET /prompt."""
    info = _object(body).get("exec_info")
    length = info.get("queue_remaining") if isinstance(info, dict) else None
    if not isinstance(length, int):
        raise BadAnswer("sent no queue_remaining")
    return max(0, length)


def placed_id(body: bytes) -> str:
    """Return the id of a job that ComfyUI has accepted. Raises BadAnswer."""
    job_id = _object(body).get("prompt_id")
    if not isinstance(job_id, str) or not re.fullmatch(r"[A-Za-z0-9-]{1,100}", job_id):
        raise BadAnswer("sent no valid prompt_id")
    return job_id


def comfyui_version(body: bytes) -> tuple[int, ...]:
    """Return the version of ComfyUI, or an empty tuple if it is unknown. Raises BadAnswer for another server."""
    system = _object(body).get("system")
    if not isinstance(system, dict):
        raise BadAnswer("does not respond like ComfyUI")
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", str(system.get("comfyui_version", "")))
    return tuple(int(part) for part in match.groups(default="0")) if match else ()


def refusal(body: bytes) -> str:
    """Return the reason for which ComfyUI refused a workflow with status 400."""
    try:
        answer = _object(body)
    except BadAnswer:
        return "no reason"
    reasons = list(_node_reasons(answer.get("node_errors")))
    error = answer.get("error")
    if not reasons and isinstance(error, dict):
        reasons = [str(error.get("message") or error.get("type") or "no reason")]
    elif not reasons:
        reasons = [error] if isinstance(error, str) and error else ["no reason"]
    return public_text("; ".join(reasons))


def job_end(body: bytes, job_id: str) -> JobSucceeded | JobFailed | None:
    """Return the result of a job, or None if the history does not contain the job.

    `body` is the response of /history/{id}. Raises BadAnswer.
    """
    entry = _object(body).get(job_id)
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise BadAnswer("sent an invalid history")
    status = entry.get("status")
    if isinstance(status, dict) and status.get("status_str") == "error":
        return _failure(status.get("messages"))
    return JobSucceeded(_choose_files(entry.get("outputs")))


def public_text(text: str) -> str:
    """Return the text as a single short line without folders and URLs."""
    return one_line(_FOLDERS.sub("", _URL.sub("…", text)))


def _failure(messages: object) -> JobFailed:
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, list) or len(message) != 2 or not isinstance(message[1], dict):
            continue
        event, data = message
        if event == "execution_interrupted":
            return JobFailed("interrupted the job", "interrupt")
        if event == "execution_error":
            words = str(data.get("exception_message") or "")
            kind = str(data.get("exception_type") or "")
            node = str(data.get("node_type") or "a node")
            if _OUT_OF_MEMORY.search(f"{kind} {words}"):
                return JobFailed(public_text(f"ran out of memory in {node}"), "memory")
            first_line = next((line for line in words.splitlines() if line.strip()), "")
            reason = ": ".join(part for part in (kind.rpartition(".")[2], first_line) if part)
            return JobFailed(public_text(f"reported an error of {node}: {reason or 'no reason'}"), "error")
    return JobFailed("reported an error without a reason", "error")


def _choose_files(outputs: object) -> tuple[OutputFile, ...]:
    """Return the saved images (`output`), or the previews (`temp`) if the workflow saves no images."""
    files = [file for node in (outputs.values() if isinstance(outputs, dict) else ()) for file in _files_of(node)]
    saved = tuple(file for file in files if file.type == "output")
    return saved or tuple(file for file in files if file.type == "temp")


def _files_of(node: object) -> Iterator[OutputFile]:
    images = node.get("images") if isinstance(node, dict) else None
    for image in images if isinstance(images, list) else []:
        if isinstance(image, dict) and isinstance(image.get("filename"), str) and image["filename"]:
            yield OutputFile(image["filename"], str(image.get("subfolder") or ""), str(image.get("type") or "output"))


def _node_reasons(node_errors: object) -> Iterator[str]:
    """Yield each error of a node with the name of its input. The details are omitted, because they list all models of
    the server."""
    for node in node_errors.values() if isinstance(node_errors, dict) else ():
        if not isinstance(node, dict):
            continue
        for error in node.get("errors") or [] if isinstance(node.get("errors"), list) else []:
            if isinstance(error, dict):
                info = error.get("extra_info")
                name = info.get("input_name") if isinstance(info, dict) else None
                words = str(error.get("message") or error.get("type") or "no reason")
                yield f"{node.get('class_type') or 'a node'}: {words}" + (f" ({name})" if name else "")


def _items(body: bytes, name: str) -> list[Any]:
    items = _object(body).get(name)
    if not isinstance(items, list):
        raise BadAnswer("sent an invalid queue")
    return items


def _id_of(item: object) -> object:
    return item[1] if isinstance(item, list) and len(item) > 1 else None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("sent a response that is not JSON") from error
    if not isinstance(value, dict):
        raise BadAnswer("sent a response that is not a JSON object")
    return value
