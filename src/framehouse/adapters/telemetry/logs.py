"""Log lines as JSON, each with the ids of what it is about."""

import json
import logging
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

IDS = ("request_id", "task_id", "batch_id")
about: ContextVar[Mapping[str, Any] | MutableMapping[str, Any]] = ContextVar("about", default=MappingProxyType({}))
"""What is being worked on, of which the log takes IDS. In the API it is the request's ASGI scope itself."""


class JsonLines(logging.Formatter):
    """One JSON object per line. Of an error that comes along, `told` makes what may be written down."""

    def __init__(self, told: Callable[[BaseException], str]) -> None:
        super().__init__()
        self._told = told

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        known = about.get()
        line.update((name, str(known[name])) for name in IDS if name in known)
        if record.exc_info and (error := record.exc_info[1]):
            line["error"] = self._told(error)
        return json.dumps(line, ensure_ascii=False)
