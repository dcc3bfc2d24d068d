"""The two sources of images for `framehouse generate`: this machine and a server that implements the API."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Protocol, Self, cast

from framehouse.adapters.postgres import account_store, task_store
from framehouse.adapters.postgres.route_controls import list_route_controls
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.cli.output import Problem
from framehouse.domain.account import DEFAULT_ACCOUNT, Caller
from framehouse.domain.request import parse_request
from framehouse.domain.routing import claimable_routes
from framehouse.domain.task import Status
from framehouse.domain.task_kind import TaskKind
from framehouse.entrypoints.sweeper import OrphanedBatches
from framehouse.pipeline.accept import AcceptQueue, accept
from framehouse.pipeline.cancel import cancel as cancel_task
from framehouse.settings import Settings
from framehouse.wiring import Deployment, build_worker, open_deployment, open_signer
from framehouse_client import AsyncClient, AsyncTask, FramehouseError, TaskFailed
from framehouse_client.downloading import extension
from framehouse_client.task_request import TaskRequest

OWNER_LOCKS = 1718774121
"""The first key of the advisory locks of `framehouse generate`. The second key is the owner number of a task: a random
number that the command chooses.

While a command waits for its task, the command holds the lock for its owner number. A task is abandoned if no process
holds the lock for the task's owner number.
"""
_POLL_S = 0.15


@dataclass(frozen=True, slots=True)
class ResultImage:
    """A finished image. The locations are storage keys or URLs, and are passed to `Source.download`."""

    index: int
    location: str
    watermark_location: str = ""


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of a task. `progress` is between 0 and 1. `total` is the number of images, or 0 if it is unknown."""

    status: Status
    progress: float = 0.0
    total: int = 0
    message: str = ""
    units: str = "0"
    images: tuple[ResultImage, ...] = ()


Report = Callable[[TaskState], None]


class Source(Protocol):
    """A server or a local deployment that generates the images of one task. The methods can raise Refused or Problem.

    `submit` returns the id of the task. `wait` calls `report` after changes of the state, and returns the state after
    the task has ended. `download` returns the content of an image file and the extension of the file name.
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def submit(self, task_request: TaskRequest) -> str: ...
    async def wait(self, task_id: str, report: Report) -> TaskState: ...
    async def cancel(self, task_id: str) -> None: ...
    async def download(self, location: str) -> tuple[bytes, str]: ...


class LocalDeployment:
    """A source that generates the images on this machine. This process does the work of the API and of a worker.

    Entering the context also cancels the abandoned tasks of all commands (see `OWNER_LOCKS`).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self._deployment: Deployment = await self._stack.enter_async_context(
                open_deployment(self._settings, size=8)
            )
            await account_store.create_account(self._deployment.db, DEFAULT_ACCOUNT)
            account = await account_store.find_account(self._deployment.db, DEFAULT_ACCOUNT)
            assert account is not None
            self._account_id: int = account.id
            self._owner = secrets.randbelow(2**31 - 1) + 1
            locking = asyncio.create_task(self._deployment.db.listen({}, lock=(OWNER_LOCKS, self._owner)))
            self._stack.callback(locking.cancel)
            for abandoned in await task_store.abandoned_tasks(self._deployment.db, OWNER_LOCKS):
                await self.cancel(str(abandoned))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def submit(self, task_request: TaskRequest) -> str:
        kind = cast(TaskKind, task_request.kind)
        request = parse_request(dict(task_request.body), self._deployment.registry.catalog, kind)
        model = self._deployment.registry.model(request.model)
        assert model is not None
        await self._check_first_route(model.name)
        signer = await open_signer(self._settings, self._deployment.db)
        ticket = await accept(
            request,
            caller=Caller(self._account_id, DEFAULT_ACCOUNT),
            model=model,
            accept_queue=AcceptQueue(self._deployment.db),
            storage=self._deployment.storage,
            owner=self._owner,
        )
        worker = build_worker(self._deployment, signer, only_task=ticket.task_id)
        self._worker = running = asyncio.create_task(worker.run())
        # This process also requeues orphaned batches, because there may be no running server to requeue them.
        orphaned_batches = OrphanedBatches(self._deployment.db, lease_s=self._settings.lease_s)
        self._stack.callback(asyncio.create_task(orphaned_batches.run()).cancel)

        async def stop() -> None:
            worker.stop()
            await running

        self._stack.push_async_callback(stop)
        return str(ticket.task_id)

    async def _check_first_route(self, model: str) -> None:
        """Raise Problem if the task would wait at the model's first route.

        The task would wait if neither this process nor a live worker serves the route, or if an operator has paused the
        route.
        """
        first = self._deployment.registry.route(model, "")
        assert first is not None
        names = [route.name for route in self._deployment.registry.routes(model)]
        controls = await list_route_controls(self._deployment.db)
        of_model = {route: control for (of, route), control in controls.items() if of == model}
        if claimable_routes(names, names, of_model)[first.name] != "all":
            raise Problem(
                f"The route {first.name} of {model} is {controls[model, first.name]}. "
                f"To resume the route: framehouse route resume {model} {first.name}"
            )
        live = {(health.model, health.route) for health in await list_route_health(self._deployment.db)}
        if not first.served and (model, first.name) not in live:
            raise Problem(
                f"The route {first.name} of {model} needs {first.needed_labels}, and no live worker has these labels. "
                f"Start a worker with these labels: framehouse worker {first.label_options}. "
                "Alternatively, set worker_labels for this command."
            )

    async def wait(self, task_id: str, report: Report) -> TaskState:
        while True:
            task = await task_store.find_task(self._deployment.db, self._account_id, task_id)
            assert task is not None
            images = tuple(ResultImage(image.index, image.key, image.watermark_key) for image in task.images)
            state = TaskState(
                task.status, task.progress, task.image_count, task.status_message, str(task.units_charged), images
            )
            report(state)
            if task.ended:
                return state
            if self._worker.done():
                self._worker.result()
                raise Problem("The worker stopped. To find the reason, run: framehouse doctor")
            await asyncio.sleep(_POLL_S)

    async def cancel(self, task_id: str) -> None:
        task = await task_store.find_task(self._deployment.db, self._account_id, task_id)
        retention = timedelta(days=self._settings.retention_days)
        if task:
            await cancel_task(self._deployment.db, self._account_id, task.id, retention)

    async def download(self, location: str) -> tuple[bytes, str]:
        content = await self._deployment.storage.get(location)
        if content is None:
            raise Problem(f"The image {location} is missing from the storage.")
        return content, location.rsplit(".", 1)[-1]


class RemoteServer:
    """A source that generates the images on a server that implements the API."""

    def __init__(self, server: str, key: str) -> None:
        try:
            self._client = AsyncClient(server, key)
        except ValueError as error:
            raise Problem(f"--server is not valid: {error}") from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def submit(self, task_request: TaskRequest) -> str:
        with _problems():
            self._task = await self._client.submit(task_request)
        return self._task.id

    async def wait(self, task_id: str, report: Report) -> TaskState:
        with _problems(), suppress(TaskFailed):
            await self._task.wait(on_progress=lambda task: report(_state(task)))
        return _state(self._task)

    async def cancel(self, task_id: str) -> None:
        """Cancel the task. Errors are ignored, because the server may not support cancellation."""
        with suppress(FramehouseError):
            await self._task.cancel()

    async def download(self, location: str) -> tuple[bytes, str]:
        with _problems():
            content = await self._client.download(location)
        return content, extension(content)


def _state(task: AsyncTask) -> TaskState:
    images = tuple(ResultImage(image.index, image.url, image.watermark_url or "") for image in task.images)
    return TaskState(task.status, task.progress, len(images), task.data.message, str(task.units), images)


@contextmanager
def _problems() -> Iterator[None]:
    """Convert the errors of the client to Problem."""
    try:
        yield
    except FramehouseError as error:
        code = f" (code {error.code})" if error.code is not None else ""
        raise Problem(f"{error.message[:1].upper()}{error.message[1:]}{code}", code=error.code) from error
