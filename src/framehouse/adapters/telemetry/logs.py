"""Format log records as JSON, with the ids of the request, task or batch that is being processed."""

import json
import logging
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

IDS = ("request_id", "task_id", "batch_id")
log_context: ContextVar[Mapping[str, Any] | MutableMapping[str, Any]] = ContextVar(
    "log_context", default=MappingProxyType({})
)
"""A mapping that contains the ids of the request, task or batch that is being processed. The mapping may contain other
items, but only the items whose names are in IDS are added to log lines. In the API process, the mapping is the ASGI
scope of the request."""


class JsonLines(logging.Formatter):
    """A formatter that writes each record as one line of JSON. `describe_error` converts an exception to text."""

    def __init__(self, describe_error: Callable[[BaseException], str]) -> None:
        super().__init__()
        self._describe_error = describe_error

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = log_context.get()
        line.update((name, str(context[name])) for name in IDS if name in context)
        if record.exc_info and (error := record.exc_info[1]):
            line["error"] = self._describe_error(error)
        return json.dumps(line, ensure_ascii=False)
