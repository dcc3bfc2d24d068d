"""The context of one tool call, and the texts of its errors."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server.context import ServerRequestContext

import framehouse_client.errors as problems
from framehouse.entrypoints.mcp.tool_errors import ToolFailed
from framehouse_client import AsyncClient

Context = ServerRequestContext[Any, Any]
_STEP = 0.0001


@dataclass(slots=True)
class ToolCall:
    """One request of an MCP client.

    `client` sends requests to the API with the key of the MCP client. `local_files` is true if the MCP client may name
    files of this machine. `is_stopping` returns whether this process is about to end, so that calls must not wait.
    """

    client: AsyncClient
    context: Context
    local_files: bool
    is_stopping: Callable[[], bool]
    _progress: float = -1.0
    _message: str = ""

    async def report(self, progress: float, message: str) -> None:
        """Send a progress notification if the client requested notifications, and if the progress or message changed.

        `progress` is between 0 and 1. The protocol requires that the value increases with each notification. If only
        the message changes, the value therefore increases slightly.
        """
        if progress <= self._progress and message == self._message:
            return
        self._progress = max(progress, self._progress + _STEP)
        self._message = message
        await self.context.session.report_progress(self._progress, 1.0, message)


OpenCall = Callable[[Context], AbstractAsyncContextManager[ToolCall]]
"""A function that opens the context of one message."""


@contextmanager
def readable_errors(task_id: str = "") -> Iterator[None]:
    """Convert the errors of the API client to ToolFailed, and add the next step for the agent.

    `task_id` is the id of the task that the call has created or waits for.
    """
    try:
        yield
    except problems.FramehouseError as error:
        message = f"{error}. {_next_step(error, task_id)}"
        raise ToolFailed(f"Task {task_id}: {message}" if task_id else message) from error
    except (ValueError, TypeError) as error:
        raise ToolFailed(str(error)) from error


def _next_step(error: problems.FramehouseError, task_id: str) -> str:
    if task_id and isinstance(error, problems.ConnectionFailed | problems.ServerError | problems.RateLimited):
        return "The task is not lost: call wait_for_task with this task_id"
    match error:
        case problems.AuthenticationError():
            return "Ask the user to check the API key and its rights"
        case problems.RateLimited():
            pause = f"{error.retry_after_s:g} seconds" if error.retry_after_s else "some seconds"
            return f"Wait {pause}, or until other tasks have ended. Then repeat the call"
        case problems.QuotaExceeded():
            return "A repeated call fails, too. Ask the user to check the account"
        case problems.ContentRefused():
            return "Change the prompt or the images. Then call the tool again"
        case problems.TaskMayExist():
            return f"Before you create the task again, call get_task with the task_id {error.external_task_id}"
        case problems.InvalidRequest() | problems.NotFound():
            return "Correct the arguments. Then call the tool again"
    return "Repeat the call later. With the same idempotency_key, no second task is created"
