"""Deployments that relay to another Framehouse. The upstream has a separate database and a separate storage."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage, open_storage
from framehouse.pipeline.generate import Rules
from tests.support.api_server import Api, serving
from tests.support.database import Server, fresh_database
from tests.support.in_process_deployment import RULES, Deployment, MakeDeployment, build_deployment

upstreams: dict[int, Deployment] = {}
"""The upstream of each relay, by the Python `id` of the relay's deployment."""


@asynccontextmanager
async def relaying(
    postgres: Server, template: str, db: Database, storage: Storage, folder: Path
) -> AsyncIterator[MakeDeployment]:
    """A `make_deployment` that creates an upstream with the routes, and a deployment that relays to it.

    Its argument `upstream_rules` contains the settings of the upstream.
    """
    async with AsyncExitStack() as stack:

        async def make(*routes: dict[str, object], upstream_rules: Rules = RULES, **options: Any) -> Deployment:
            url = await stack.enter_async_context(fresh_database(postgres, template))
            upstream_db = Database(url, size=8)
            await upstream_db.open()
            stack.push_async_callback(upstream_db.close)
            upstream = await build_deployment(upstream_db, open_storage((folder / url[-12:]).as_uri()), *routes)
            upstream.rules = upstream_rules
            stack.push_async_callback(upstream.close)
            served: Api = await stack.enter_async_context(serving(upstream))
            upstream.start_worker(stop_s=1)
            key = served.alice.headers["authorization"].removeprefix("Bearer ")
            route = {"engine": "kling", "base_url": f"{served.url}/kling", "accounts": [{"api_key": key}]}
            deployment = await build_deployment(db, storage, route | {"lost_after_s": 1}, **options)
            stack.push_async_callback(deployment.close)
            upstreams[id(deployment)] = upstream
            return deployment

        yield make
