"""Real Postgres for every test: one embedded server per run, one database per test, copied from the migrations."""

import asyncio
import io
import os
import socket
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import hypothesis
import pytest
import uvicorn
from PIL import Image

from framehouse.adapters.engines.registry import Registry, open_registry
from framehouse.adapters.postgres import accounts
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage, open_storage
from framehouse.domain.account import Caller
from framehouse.domain.links import Links
from framehouse.domain.model import Model
from framehouse.domain.request import parse_request
from framehouse.domain.task import Ticket
from framehouse.entrypoints.api.connections import ConnectionLimits, server_config
from framehouse.entrypoints.api.server import build_api
from framehouse.entrypoints.librarian import Librarian
from framehouse.entrypoints.worker import Limits, Worker
from framehouse.pipeline.accept import AcceptCounter, accept
from framehouse.pipeline.finish import Finishing
from framehouse.pipeline.paint import Rules
from tests import services

hypothesis.settings.register_profile(
    "framehouse", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=100
)
hypothesis.settings.load_profile("framehouse")
MISBEHAVING = "tests.misbehaving:Misbehaving"
RULES = Rules(Finishing("Framehouse test"), timedelta(days=30), allow_private_addresses=False)


@dataclass(frozen=True)
class Server:
    """Where the run's PostgreSQL is, and how through a pooler, if there is one."""

    url: str
    pooled_url: str = ""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Server]:
    """The run's server; all xdist workers share it, and the last to leave stops it. TEST_DATABASE names another than
    the embedded one, and then each has its own: `debian` the system's, `pgbouncer` a PgBouncer before that."""
    kind = os.environ.get("TEST_DATABASE") or "embedded"
    if kind == "embedded":
        base = tmp_path_factory.getbasetemp()
        server = EmbeddedPostgres((base if worker_id == "master" else base.parent) / "postgres")
        server.start()
        yield Server(server.url)
        server.stop()
        return
    assert kind in ("debian", "pgbouncer"), kind
    with services.postgres() as started, ExitStack() as stack:
        pooled = stack.enter_context(services.pgbouncer(started)).url() if kind == "pgbouncer" else ""
        yield Server(started.url(), pooled)


@pytest.fixture(scope="session")
def template(postgres: Server, worker_id: str) -> str:
    """The name of a migrated database to copy."""
    name = f"template_{worker_id}"

    async def make() -> None:
        await execute(postgres.url, f'create database "{name}"')
        await migrate(_named(postgres.url, name))

    asyncio.run(make())
    return name


def _named(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def execute(url: str, statement: str) -> None:
    """Run a statement, or several, on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def database_url(postgres: Server, template: str) -> AsyncIterator[str]:
    async with fresh_database(postgres, template) as url:
        yield url


@asynccontextmanager
async def fresh_database(postgres: Server, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database that is gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(postgres.url, f'create database "{name}" template "{template}"')
    yield _named(postgres.url, name)
    await execute(postgres.url, f'drop database "{name}" with (force)')


def open_of(server: Server, url: str, *, size: int = 8) -> Database:
    """A database of the run's server, by its pooler where there is one; still to be opened."""
    if not server.pooled_url:
        return Database(url, size=size)
    return Database(_named(server.pooled_url, urlsplit(url).path[1:]), size=size, direct_url=url)


@pytest.fixture
async def db(postgres: Server, database_url: str) -> AsyncIterator[Database]:
    database = open_of(postgres, database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage((tmp_path / "files").as_uri())


@dataclass
class House:
    """A whole house in the test's own process, with an account, and workers that are started when asked for."""

    db: Database
    storage: Storage
    registry: Registry
    caller: Caller
    counter: AcceptCounter
    workers: list[tuple[Worker, "asyncio.Task[None]"]] = field(default_factory=list)
    librarians: list["asyncio.Task[None]"] = field(default_factory=list)
    rules: Rules = RULES

    async def submit(self, prompt: str = "a fox", *, caller: Caller | None = None, **fields: Any) -> Ticket:
        """Accept a request as the API does."""
        body = {"model_name": "kling-v3-omni", "prompt": prompt} | fields
        request = parse_request(body, self.registry.model)
        model = self.registry.model(request.model)
        assert model is not None
        return await accept(
            request,
            caller=caller or self.caller,
            model=model,
            counter=self.counter,
            storage=self.storage,
        )

    def worker(self, **limits: Any) -> Worker:
        return Worker(self.db, self.storage, self.registry, self.rules, Limits(**limits))

    def start_worker(self, **limits: Any) -> Worker:
        worker = self.worker(**limits)
        self.workers.append((worker, asyncio.create_task(worker.run())))
        return worker

    def start_librarian(self, **options: Any) -> Librarian:
        """One that may fetch from this machine, unless told otherwise."""
        librarian = Librarian(self.db, self.storage, **({"allow_private": True} | options))
        self.librarians.append(asyncio.create_task(librarian.run()))
        return librarian

    async def account(self) -> dict[str, Any]:
        found = await accounts.find_account(self.db, self.caller.account_name)
        assert found is not None
        return found

    async def close(self) -> None:
        for worker, running in self.workers:
            worker.stop()
            await running
        for librarian in self.librarians:
            librarian.cancel()
        await asyncio.gather(*self.librarians, return_exceptions=True)
        await self.registry.close()


async def build_house(
    db: Database,
    storage: Storage,
    *routes: dict[str, object],
    concurrency: int = 100,
    units_limit: int | None = None,
) -> House:
    """A house with the account alice."""
    chosen: list[dict[str, object]] = list(routes) or [{"engine": MISBEHAVING}]
    models = [
        (Model("kling-v3-omni"), chosen),
        (Model("kling-image-o1", resolutions=("1k", "2k"), series=False), chosen),
    ]
    await accounts.create_account(db, "alice", concurrency=concurrency, units_limit=units_limit)
    account = await accounts.find_account(db, "alice")
    assert account is not None
    return House(db, storage, open_registry(models), Caller(account["id"], "alice"), AcceptCounter(db))


MakeHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def make_house(db: Database, storage: Storage) -> AsyncIterator[MakeHouse]:
    """A house whose models are painted by the given route (the misbehaving engine by default)."""
    houses: list[House] = []

    async def make(*routes: dict[str, object], concurrency: int = 100, units_limit: int | None = None) -> House:
        houses.append(await build_house(db, storage, *routes, concurrency=concurrency, units_limit=units_limit))
        return houses[-1]

    yield make
    for house in houses:
        await house.close()


@dataclass
class Api:
    """A real server on a loopback port. `alice` and `bob` are clients with keys, `stranger` has none."""

    house: House
    url: str
    alice: httpx.AsyncClient
    bob: httpx.AsyncClient
    stranger: httpx.AsyncClient

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

    async def element(self, any_id: str) -> dict[str, Any]:
        """The element task when it has ended."""

        async def look() -> dict[str, Any] | None:
            data: dict[str, Any] = (await self.alice.get(f"{ELEMENTS}/{any_id}")).json()["data"]
            return data if data["task_status"] in ("succeed", "failed") else None

        found: dict[str, Any] = await eventually(look)
        return found

    async def saved(self, **fields: Any) -> int:
        """The id of an element that is made; a librarian must be there."""
        task = await self.element((await self.create_element(**fields))["task_id"])
        return int(task["task_result"]["elements"][0]["element_id"])

    async def ended(self, task_id: str) -> dict[str, Any]:
        data: dict[str, Any] = (await self.alice.get(f"{PATH}/{task_id}?wait=30")).json()["data"]
        assert data["task_status"] in ("succeed", "failed"), data
        return data


PATH = "/kling/v1/images/omni-image"
ELEMENTS = "/kling/v1/general/advanced-custom-elements"
MakeApi = Callable[..., Awaitable[Api]]


@asynccontextmanager
async def serving(house: House, *, connections: ConnectionLimits | None = None, **options: Any) -> AsyncIterator[Api]:
    """The API of a house on a free loopback port."""
    settings: dict[str, Any] = {
        "links": Links("secret"),
        "path_prefixes": ["/kling", "", "/proxy/kling"],
        "requests_per_second": 0,
        "retention": timedelta(days=30),
        "max_body_bytes": 150_000_000,
    }
    app = build_api(db=house.db, storage=house.storage, registry=house.registry, **(settings | options))
    listening = socket.create_server(("127.0.0.1", 0))
    # as uvloop does it; asyncio does not, and every answer on a kept connection would come 40 ms late
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(server_config(app, connections or ConnectionLimits(), stop_s=1))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    await accounts.create_account(house.db, "bob")
    clients = []
    for name in ("alice", "bob"):
        account = await accounts.find_account(house.db, name)
        assert account is not None
        key = await accounts.create_key(house.db, account["id"])
        clients.append(httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60))
    stranger = httpx.AsyncClient(base_url=url, timeout=60)
    try:
        yield Api(house, url, clients[0], clients[1], stranger)
    finally:
        for client in (*clients, stranger):
            await client.aclose()
        server.should_exit = True
        await running
        listening.close()


@pytest.fixture
async def api(make_house: MakeHouse) -> AsyncIterator[Api]:
    """A served house, without a worker."""
    async with serving(await make_house()) as served:
        yield served


async def eventually(check: Callable[[], Awaitable[Any]], *, seconds: float = 20) -> Any:
    """The first true answer of `check`, which is asked again and again."""
    async with asyncio.timeout(seconds):
        while not (answer := await check()):  # noqa: ASYNC110 - what is asked lives in other processes
            await asyncio.sleep(0.02)
    return answer


def image_file(width: int = 400, height: int = 300, format: str = "PNG", **options: Any) -> bytes:
    """A small picture as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 40)).save(buffer, format, **options)
    return buffer.getvalue()


def element_body(**fields: Any) -> dict[str, Any]:
    images = {"frontal_image": image_base64(600, 400), "refer_images": [{"image_url": image_base64(400, 400)}]}
    body = {"element_name": "Red bag", "element_description": "A red bag", "element_image_list": images}
    return body | fields


def image_base64(width: int = 400, height: int = 300, format: str = "PNG") -> str:
    return b64encode(image_file(width, height, format)).decode()
