"""The API of a deployment on a real loopback socket, with clients that have the keys of alice and bob."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from framehouse.adapters.postgres import account_store
from framehouse.domain.signed_urls import Links
from framehouse.entrypoints.api import api_app, dependency_checks
from framehouse.entrypoints.api.connection_limits import ConnectionLimits, server_config
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment


@dataclass
class Api:
    """A real server on a loopback port. The clients `alice` and `bob` have keys; `anonymous` has no key."""

    deployment: Deployment
    url: str
    alice: httpx.AsyncClient
    bob: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    app: api_app.Api

    async def create(self, prompt: str = "a fox", **fields: Any) -> dict[str, Any]:
        body = {"model_name": "kling-v3-omni", "prompt": prompt} | fields
        answer = await self.alice.post(PATH, json=body)
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def create_element(self, **fields: Any) -> dict[str, Any]:
        answer = await self.alice.post(ELEMENTS, json=element_body(**fields))
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    async def wait_for_element(self, any_id: str) -> dict[str, Any]:
        """Wait until the element task has ended, and return it."""

        async def ended_task() -> dict[str, Any] | None:
            data: dict[str, Any] = (await self.alice.get(f"{ELEMENTS}/{any_id}")).json()["data"]
            return data if data["task_status"] in ("succeed", "failed") else None

        task: dict[str, Any] = await eventually(ended_task)
        return task

    async def save_element(self, **fields: Any) -> int:
        """Create an element, wait until it is saved, and return its id. An element worker must be running."""
        task = await self.wait_for_element((await self.create_element(**fields))["task_id"])
        return int(task["task_result"]["elements"][0]["element_id"])

    async def wait_for_task(self, task_id: str) -> dict[str, Any]:
        """Wait for the end of the task, at most 30 seconds, and return the task."""
        data: dict[str, Any] = (await self.alice.get(f"{PATH}/{task_id}?wait=30")).json()["data"]
        assert data["task_status"] in ("succeed", "failed"), data
        return data


PATH = "/kling/v1/images/omni-image"


ELEMENTS = "/kling/v1/general/advanced-custom-elements"

SHORT_CHECK_S = dependency_checks._DATABASE_TIMEOUT_S
dependency_checks._DATABASE_TIMEOUT_S = 60.0
"""On a busy machine, the process of a test may pause for longer than the usual limit `SHORT_CHECK_S`."""


@asynccontextmanager
async def serving(
    deployment: Deployment, *, connections: ConnectionLimits | None = None, **options: Any
) -> AsyncIterator[Api]:
    """Serve the API of a deployment on a free loopback port."""
    settings: dict[str, Any] = {
        "links": Links("secret"),
        "path_prefixes": ["/kling", "", "/proxy/kling"],
        "requests_per_second": 0,
        "retention": timedelta(days=30),
        "max_body_bytes": 150_000_000,
        "open_mcp": lambda: open_mcp_app(app),
    }
    app: api_app.Api = api_app.build_api(
        db=deployment.db, storage=deployment.storage, registry=deployment.registry, **(settings | options)
    )
    listening = socket.create_server(("127.0.0.1", 0))
    # uvloop sets this option. asyncio does not, and every answer on a reused connection would be 40 ms late
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # on a busy machine, a test may not use its connection for longer than the usual 20 seconds
    limits = connections or ConnectionLimits(head_s=120)
    config = server_config(app, limits, stop_s=1)
    if connections:  # the test checks these limits, and uvicorn's own limit of 5 s could replace a missing limit
        config.timeout_keep_alive = 3600
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    await account_store.create_account(deployment.db, "bob")
    clients = []
    for name in ("alice", "bob"):
        account = await account_store.find_account(deployment.db, name)
        assert account is not None
        key = await account_store.create_key(deployment.db, account.id)
        clients.append(httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60))
    anonymous = httpx.AsyncClient(base_url=url, timeout=60)
    try:
        yield Api(deployment, url, clients[0], clients[1], anonymous, app)
    finally:
        for client in (*clients, anonymous):
            await client.aclose()
        server.should_exit = True
        await running
        # uvicorn does not close a connection whose request has not ended when the server stops
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        listening.close()


def open_mcp_app(api: api_app.Api) -> ASGIApp:
    from framehouse.entrypoints.mcp.mcp_http_app import McpHttpApp  # imported here, because the import takes a second

    return McpHttpApp(api, prefix="/kling", is_stopping=lambda: api.is_stopping)


def element_body(**fields: Any) -> dict[str, Any]:
    images = {"frontal_image": image_base64(600, 400), "refer_images": [{"image_url": image_base64(400, 400)}]}
    body = {"element_name": "Red bag", "element_description": "A red bag", "element_image_list": images}
    return body | fields
