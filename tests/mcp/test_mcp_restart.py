"""The server is killed while a call waits for its images, and then started again."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp_types import CallToolResult, GetTaskPayloadRequest, GetTaskPayloadRequestParams

from mcp import Client
from tests.support.command_line import Server, client, serve
from tests.support.mcp_clients import TaskReport, http_client, images_of, stdio_client_of
from tests.support.served_deployment import config

Connect = Callable[[str, str], AbstractAsyncContextManager[Client]]
CALL: dict[str, Any] = {"prompt": "A red fox", "n": 3, "wait_s": 300}


def start(folder: Path, stack: ExitStack, port: str = "0") -> Server:
    settings = config(folder, folder / "notes.txt", seconds=2)
    return stack.enter_context(serve(folder / "data", "--config", settings, "--port", port))


def restart(folder: Path, stack: ExitStack, server: Server) -> Server:
    server.kill()
    return start(folder, stack, server.url.rpartition(":")[2])


def only_task(url: str, key: str) -> dict[str, Any]:
    with client(url, key) as http:
        (task,) = http.get("/v1/tasks").json()["data"]
    assert task["task_status"] == "succeed"
    return dict(task)


@pytest.mark.long
async def test_over_http_the_client_waits_again_with_the_same_id(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = start(tmp_path, stack)
        key, report = server.key, TaskReport()

        async def call() -> None:
            async with http_client(server.url, key) as mcp:
                await mcp.call_tool("create_images", CALL, progress_callback=report)

        calling = asyncio.create_task(call())
        task_id = await report.task_id()
        server = await asyncio.to_thread(restart, tmp_path, stack, server)
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        async with http_client(server.url, key) as mcp:
            by_tool = await mcp.call_tool("wait_for_task", {"task_id": task_id, "wait_s": 300})
            request = GetTaskPayloadRequest(params=GetTaskPayloadRequestParams(task_id=task_id))
            by_protocol = await mcp.session.send_request(request, CallToolResult)
        assert [len(images_of(result)) for result in (by_tool, by_protocol)] == [3, 3]
        assert only_task(server.url, key)["task_id"] == task_id


@pytest.mark.long
async def test_over_stdio_the_call_itself_returns_the_images(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = start(tmp_path, stack)
        key, report = server.key, TaskReport()
        async with stdio_client_of(server.url, key) as mcp:
            calling = asyncio.create_task(mcp.call_tool("create_images", CALL, progress_callback=report))
            task_id = await report.task_id()
            server = await asyncio.to_thread(restart, tmp_path, stack, server)
            result = await asyncio.wait_for(calling, 300)
        assert len(images_of(result)) == 3
        assert only_task(server.url, key)["task_id"] == task_id
