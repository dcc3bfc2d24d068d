"""The two places where `generate` gets its pictures: this machine's own house, or a server that speaks the contract."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from framehouse.adapters.postgres import account_store, task_store
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.cli.output import Problem
from framehouse.domain.account import DEFAULT_ACCOUNT, Caller
from framehouse.domain.errors import Refused
from framehouse.domain.request import parse_request
from framehouse.domain.task import Status
from framehouse.pipeline.accept import AcceptCounter, accept
from framehouse.pipeline.cancel import cancel as cancel_task
from framehouse.settings import Settings
from framehouse.wiring import Deployment, make_orphaned_batches, make_worker, open_deployment

OWNER_LOCKS = 1718774121
"""The class of the advisory locks by which others see that somebody still waits for a task."""
_LOOK_S = 0.15
_PATIENCE_TRIES = 8


@dataclass(frozen=True, slots=True)
class FoundImage:
    """A finished picture, and where its source can download it."""

    index: int
    location: str
    watermark_location: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task stands. `total` is 0 where the source does not say."""

    status: Status
    progress: float = 0.0
    total: int = 0
    message: str = ""
    units: str = "0"
    images: tuple[FoundImage, ...] = ()


class Source(Protocol):
    """Where pictures come from."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def submit(self, body: dict[str, Any]) -> str: ...
    def follow(self, task_id: str) -> AsyncIterator[Outcome]: ...
    async def cancel(self, task_id: str) -> None: ...
    async def download(self, location: str) -> tuple[bytes, str]: ...


class LocalDeployment:
    """This machine: the same accept, queue and worker as the server's, in this process, for this one task."""

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
            holding = asyncio.create_task(self._deployment.db.listen({}, lock=(OWNER_LOCKS, self._owner)))
            self._stack.callback(holding.cancel)
            for left in await task_store.abandoned_tasks(self._deployment.db, OWNER_LOCKS):
                await self.cancel(str(left))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def submit(self, body: dict[str, Any]) -> str:
        request = parse_request(body, self._deployment.registry.model)
        model = self._deployment.registry.model(request.model)
        assert model is not None
        await self._look_for_a_worker(model.name)
        ticket = await accept(
            request,
            caller=Caller(self._account_id, DEFAULT_ACCOUNT),
            model=model,
            counter=AcceptCounter(self._deployment.db),
            storage=self._deployment.storage,
            owner=self._owner,
        )
        worker = make_worker(self._deployment, only_task=ticket.task_id)
        self._worker = running = asyncio.create_task(worker.run())
        freeing = asyncio.create_task(make_orphaned_batches(self._deployment).run())  # there may be no server that does
        self._stack.callback(freeing.cancel)

        async def stop() -> None:
            worker.stop()
            await running

        self._stack.push_async_callback(stop)
        return str(ticket.task_id)

    async def _look_for_a_worker(self, model: str) -> None:
        """Nobody is to wait for a picture that nobody may paint."""
        first = self._deployment.registry.route(model, "")
        assert first is not None
        living = {(found.model, found.route) for found in await list_route_health(self._deployment.db)}
        if not first.served and (model, first.name) not in living:
            raise Problem(
                f"{model} by {first.name} needs {first.needed}, and no living worker has that. "
                f"Start one: framehouse worker {first.label_options}; or give worker_labels to this command."
            )

    async def follow(self, task_id: str) -> AsyncIterator[Outcome]:
        while True:
            task = await task_store.find_task(self._deployment.db, self._account_id, task_id)
            assert task is not None
            images = tuple(FoundImage(p.index, p.key, p.watermark_key) for p in task.images)
            yield Outcome(
                task.status, task.progress, task.image_count, task.status_message, str(task.units_charged), images
            )
            if task.ended:
                return
            if self._worker.done():
                self._worker.result()
                raise Problem("The worker stopped. framehouse doctor may know why.")
            await asyncio.sleep(_LOOK_S)

    async def cancel(self, task_id: str) -> None:
        task = await task_store.find_task(self._deployment.db, self._account_id, task_id)
        retention = timedelta(days=self._settings.retention_days)
        if task:
            await cancel_task(self._deployment.db, self._account_id, task.id, retention)

    async def download(self, location: str) -> tuple[bytes, str]:
        content = await self._deployment.storage.get(location)
        if content is None:
            raise Problem(f"The picture {location} is gone from the storage.")
        return content, location.rsplit(".", 1)[-1]


class RemoteServer:
    """Any server of the contract. GETs are tried again; a POST is sent once, for nobody is to pay twice."""

    def __init__(self, server: str, key: str) -> None:
        base = server.rstrip("/")
        path = "/v1/images/omni-image"
        self._path = base + path if base.endswith("/kling") else f"{base}/kling{path}"
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"}, timeout=httpx.Timeout(90, connect=10), follow_redirects=False
        )
        self._images = httpx.AsyncClient(timeout=httpx.Timeout(60, connect=10), follow_redirects=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()
        await self._images.aclose()

    async def submit(self, body: dict[str, Any]) -> str:
        try:
            answer = await self._client.post(self._path, json=body)
        except httpx.TransportError as error:
            raise Problem(f"Cannot reach {self._path}: {error or type(error).__name__}") from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise Problem(f"--server is not a usable URL: {error}") from error
        return str(self._data(answer)["task_id"])

    async def follow(self, task_id: str) -> AsyncIterator[Outcome]:
        while True:
            data = self._data(await self._get(f"{self._path}/{task_id}?wait=2"))
            result = data.get("task_result") or {}
            found = [*(result.get("images") or []), *(result.get("series_images") or [])]
            images = tuple(
                FoundImage(int(p.get("index", n)), str(p["url"]), str(p.get("watermark_url") or ""))
                for n, p in enumerate(found)
            )
            outcome = Outcome(
                data["task_status"],
                float(data.get("progress") or 0),
                len(images),
                str(data.get("task_status_msg") or ""),
                str(data.get("final_unit_deduction") or "0"),
                images,
            )
            yield outcome
            if outcome.status in ("succeed", "failed"):
                return
            await asyncio.sleep(0.5)

    async def cancel(self, task_id: str) -> None:
        """Where the server knows cancelling; to others this is an unknown path."""
        with suppress(httpx.TransportError):
            await self._client.post(f"{self._path}/{task_id}/cancel")

    async def download(self, location: str) -> tuple[bytes, str]:
        answer = await self._get(location, self._images)
        if answer.status_code != 200:
            raise Problem(f"The picture {location} cannot be had: HTTP {answer.status_code}.")
        kind = answer.headers.get("content-type", "").split(";")[0]
        return answer.content, {"image/jpeg": "jpg", "image/webp": "webp"}.get(kind, "png")

    async def _get(self, url: str, client: httpx.AsyncClient | None = None) -> httpx.Response:
        """GETs are safe to try again: a lost poll or download loses nothing."""
        for n in range(_PATIENCE_TRIES):
            try:
                answer = await (client or self._client).get(url)
                if answer.status_code not in (429, 500, 502, 503, 504):
                    return answer
                why = f"HTTP {answer.status_code}"
            except httpx.TransportError as error:
                why = str(error) or type(error).__name__
            await asyncio.sleep(min(10.0, 0.5 * 2**n) * random.uniform(0.5, 1.0))
        raise Problem(f"No answer from {url.split('?')[0]}: {why}. The task goes on; ask again later.")

    def _data(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            body = answer.json()
            code, message = int(body["code"]), str(body.get("message", ""))
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            raise Problem(
                f"{self._path} does not speak the omni-image API (HTTP {answer.status_code}). Is --server right?"
            ) from None
        if code != 0:
            raise Refused(code, message, status=answer.status_code)
        data: dict[str, Any] = body["data"]
        return data
