"""Wait for a task, and report its progress to the MCP client."""

import asyncio
import math
import time

from framehouse.entrypoints.mcp.api_steps import task_with_previews
from framehouse.entrypoints.mcp.tool_call import ToolCall, readable_errors
from framehouse_client.task_data import TaskData

_POLL_S = 3
"""The duration of one long poll. The MCP client receives a progress notification at most this often."""
_MIN_INTERVAL_S = 0.5


async def wait_for_task(call: ToolCall, task_id: str, wait_s: float) -> TaskData:
    """Return the state of a task when it has ended, or after `wait_s` seconds. Raises ToolFailed.

    If the MCP client disconnects, the task continues. If this process is about to end, the wait ends early.
    """
    end = time.monotonic() + wait_s
    with readable_errors(task_id):
        while True:
            started = time.monotonic()
            left_s = end - started
            poll_s = min(_POLL_S, max(0, math.ceil(left_s)))
            task = await call.client.run(task_with_previews, task_id, wait_s=poll_s)
            if task.ended or left_s <= 0 or call.is_stopping():
                return task
            await call.report(task.progress, progress_text(task))
            # the API can end a long poll early
            await asyncio.sleep(max(0.0, started + _MIN_INTERVAL_S - time.monotonic()))


def progress_text(task: TaskData) -> str:
    if task.status == "processing":
        return f"Task {task.id} is processing: {task.progress:.0%}"
    return f"Task {task.id} is {task.status}"
