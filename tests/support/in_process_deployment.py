"""A complete Framehouse in the process of the test: database, storage, engines, and workers on request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.account import Caller
from framehouse.domain.model import Model
from framehouse.domain.request import parse_request
from framehouse.domain.task import ImageRequest, Ticket
from framehouse.domain.task_kind import TaskKind
from framehouse.engines.registry import Registry, open_registry
from framehouse.entrypoints.element_worker import ElementWorker
from framehouse.entrypoints.worker.worker import Limits, Worker
from framehouse.pipeline.accept import AcceptQueue, accept
from framehouse.pipeline.finish import Finishing
from framehouse.pipeline.generate import Rules

MISBEHAVING = "framehouse.testing.misbehaving:Misbehaving"


RULES = Rules(Finishing("Framehouse test"), timedelta(days=30), allow_private_addresses=False)


@dataclass
class Deployment:
    """A complete deployment in the process of the test. It has one account; the test starts the workers."""

    db: Database
    storage: Storage
    registry: Registry
    caller: Caller
    accept_queue: AcceptQueue
    workers: list[tuple[Worker, "asyncio.Task[None]"]] = field(default_factory=list)
    element_workers: list["asyncio.Task[None]"] = field(default_factory=list)
    rules: Rules = RULES

    async def submit(
        self,
        prompt: str = "a fox",
        *,
        caller: Caller | None = None,
        kind: TaskKind = "omni-image",
        **fields: Any,
    ) -> Ticket:
        """Accept a request as the API does."""
        body = {"model_name": "kling-v3-omni", "prompt": prompt} | fields
        return await self.submit_request(parse_request(body, self.registry.catalog, kind), caller=caller)

    async def submit_request(self, request: ImageRequest, *, caller: Caller | None = None) -> Ticket:
        """Accept a request that an endpoint has read."""
        model = self.registry.model(request.model)
        assert model is not None
        return await accept(
            request,
            caller=caller or self.caller,
            model=model,
            accept_queue=self.accept_queue,
            storage=self.storage,
        )

    def worker(self, **limits: Any) -> Worker:
        return Worker(self.db, self.storage, self.registry, self.rules, Limits(**limits))

    def start_worker(self, **limits: Any) -> Worker:
        worker = self.worker(**limits)
        self.workers.append((worker, asyncio.create_task(worker.run())))
        return worker

    def start_element_worker(self, **options: Any) -> ElementWorker:
        """Start an element worker. By default it may fetch images from private addresses such as this machine's."""
        element_worker = ElementWorker(self.db, self.storage, **({"allow_private": True} | options))
        self.element_workers.append(asyncio.create_task(element_worker.run()))
        return element_worker

    async def account(self) -> dict[str, Any]:
        account = await account_store.find_account(self.db, self.caller.account_name)
        assert account is not None
        return account._asdict()

    async def close(self) -> None:
        for worker, running in self.workers:
            worker.stop()
            await running
        for element_worker in self.element_workers:
            element_worker.cancel()
        await asyncio.gather(*self.element_workers, return_exceptions=True)
        await self.registry.close()


async def second_account(deployment: Deployment) -> Caller:
    await account_store.create_account(deployment.db, "bob")
    account = await account_store.find_account(deployment.db, "bob")
    assert account is not None
    return Caller(account.id, "bob")


@asynccontextmanager
async def live_worker(deployment: Deployment, worker: int) -> AsyncIterator[None]:
    """Hold the advisory lock that shows that the worker is alive."""
    async with deployment.db._connection() as connection:
        await connection.execute("select pg_advisory_lock($1, $2)", WORKER_LOCKS, worker)
        yield


async def build_deployment(
    db: Database,
    storage: Storage,
    *routes: dict[str, object],
    concurrency: int = 100,
    units_limit: int | None = None,
) -> Deployment:
    """A deployment with the account alice and two models, which have the given routes or the misbehaving engine."""
    model_routes: list[dict[str, object]] = list(routes) or [{"engine": MISBEHAVING}]
    models = [
        (Model("kling-v3-omni"), model_routes),
        (Model("kling-image-o1", resolutions=("1k", "2k"), series=False), model_routes),
    ]
    return await deploy_models(db, storage, models, concurrency=concurrency, units_limit=units_limit)


async def deploy_models(
    db: Database,
    storage: Storage,
    models: Sequence[tuple[Model, list[dict[str, Any]]]],
    *,
    concurrency: int,
    units_limit: int | None = None,
) -> Deployment:
    """A deployment with the account alice and these models with their routes."""
    await account_store.create_account(db, "alice", concurrency=concurrency, units_limit=units_limit)
    account = await account_store.find_account(db, "alice")
    assert account is not None
    return Deployment(db, storage, open_registry(models), Caller(account.id, "alice"), AcceptQueue(db))


MakeDeployment = Callable[..., Awaitable[Deployment]]
