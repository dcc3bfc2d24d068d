"""Tasks of MCP version 2025-11-25, whose states come from the database."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    CancelTaskRequest,
    CancelTaskRequestParams,
    CancelTaskResult,
    CreateTaskResult,
    GetTaskPayloadRequest,
    GetTaskPayloadRequestParams,
    GetTaskRequest,
    GetTaskRequestParams,
    GetTaskResult,
    ListTasksRequest,
    ListTasksResult,
    PaginatedRequestParams,
)

from mcp import Client
from tests.support.api_server import Api
from tests.support.mcp_clients import MODERN, answer_of, connected_to, images_of, links_of


async def start(api: Api, prompt: str = "A red fox", tool: str = "create_images", **arguments: Any) -> str:
    """Start a task. The client of the MCP package cannot start tasks, but it can read them."""
    params = {"name": tool, "arguments": {"prompt": prompt} | arguments, "task": {"ttl": 60_000}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    response = await api.alice.post("/mcp", json=message, headers=headers)
    answer = answer_of(response)
    if "error" in answer:
        raise MCPError(**answer["error"])
    assert '"ttl":null' in response.text
    task = CreateTaskResult.model_validate(answer["result"]).task
    assert task.status == "working"
    assert datetime.fromisoformat(task.created_at).tzinfo
    return task.task_id


async def get(client: Client, task_id: str) -> GetTaskResult:
    request = GetTaskRequest(params=GetTaskRequestParams(task_id=task_id))
    return await client.session.send_request(request, GetTaskResult)


async def result_of(client: Client, task_id: str) -> CallToolResult:
    request = GetTaskPayloadRequest(params=GetTaskPayloadRequestParams(task_id=task_id))
    return await client.session.send_request(request, CallToolResult)


async def cancel(client: Client, task_id: str) -> CancelTaskResult:
    request = CancelTaskRequest(params=CancelTaskRequestParams(task_id=task_id))
    return await client.session.send_request(request, CancelTaskResult)


async def test_a_task_is_started_and_its_result_is_awaited_by_another_client(api: Api) -> None:
    async with connected_to(api) as client:
        tasks = client.server_capabilities.tasks
        assert tasks
        assert tasks.list
        assert tasks.cancel
        task_id = await start(api, n=2)
    async with connected_to(api) as client:
        assert (await get(client, task_id)).status == "working"
        waiting = asyncio.create_task(result_of(client, task_id))
        api.deployment.start_worker()
        result = await asyncio.wait_for(waiting, 60)
        assert (await get(client, task_id)).status == "completed"
        with pytest.raises(MCPError, match="already ended"):
            await cancel(client, task_id)
    assert (len(images_of(result)), len(links_of(result))) == (2, 2)
    assert result.meta == {"io.modelcontextprotocol/related-task": {"taskId": task_id}}


async def test_tasks_are_listed_in_pages_and_cancelled(api: Api) -> None:
    async with connected_to(api) as client:
        ids = [await start(api) for _ in range(51)]
        first = await client.session.send_request(ListTasksRequest(), ListTasksResult)
        rest = await client.session.send_request(
            ListTasksRequest(params=PaginatedRequestParams(cursor=first.next_cursor)), ListTasksResult
        )
        assert [task.task_id for task in (*first.tasks, *rest.tasks)] == ids[::-1]
        assert rest.next_cursor is None
        assert (await cancel(client, ids[0])).status == "cancelled"
        assert (await get(client, ids[0])).status == "cancelled"
        assert not (await result_of(client, ids[0])).is_error


async def test_a_failed_task_is_failed_and_its_result_is_an_error(api: Api) -> None:
    api.deployment.start_worker()
    async with connected_to(api) as client:
        task_id = await start(api, "decline")
        assert (await result_of(client, task_id)).is_error
        assert (await get(client, task_id)).status == "failed"


async def test_wrong_requests_are_protocol_errors(api: Api) -> None:
    async with connected_to(api) as client:
        own = await start(api)
        with pytest.raises(MCPError, match="cannot run as a task"):
            await start(api, tool="list_tasks")
        with pytest.raises(MCPError, match="n cannot be 12"):
            await start(api, n=12)
        for request in (get, result_of, cancel):
            with pytest.raises(MCPError, match="Task not found"):
                await request(client, "unknown")
        with pytest.raises(MCPError, match="cursor"):
            await client.session.send_request(
                ListTasksRequest(params=PaginatedRequestParams(cursor="x")), ListTasksResult
            )
    async with connected_to(api, client=api.bob) as client:
        for request in (get, result_of, cancel):
            with pytest.raises(MCPError, match="Task not found"):
                await request(client, own)
    async with connected_to(api, MODERN) as client:
        assert client.server_capabilities.tasks is None
        with pytest.raises(MCPError, match="Method not found"):
            await get(client, own)
