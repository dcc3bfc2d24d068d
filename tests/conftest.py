"""Fixtures for all tests: one PostgreSQL server per run, and for each test a copy of a migrated database."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage, open_storage
from tests.support import services
from tests.support.api_server import Api, serving
from tests.support.data_folder import NO_SYNC, DataFolders
from tests.support.database import Server, execute, fresh_database, named_database, server_database
from tests.support.in_process_deployment import Deployment, MakeDeployment, build_deployment
from tests.support.relay import relaying
from tests.support.system_packages import summary

_COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("repeatable", derandomize=True, max_examples=50, **_COMMON)
hypothesis.settings.register_profile("random", max_examples=1000, print_blob=True, **_COMMON)
hypothesis.settings.load_profile("random" if os.environ.get("FRAMEHOUSE_TEST_LONG") else "repeatable")


def pytest_configure() -> None:
    """Make SIGINT work in the commands that tests start. A shell starts background jobs with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line that names the missing packages, if tests were skipped because of them."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if line := summary(reasons):
        terminalreporter.write_line(line, yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long tests first. All other tests keep their random order."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests that are marked `also_relayed` twice: with an engine, and with a relay to another Framehouse."""
    if metafunc.definition.get_closest_marker("also_relayed"):
        metafunc.parametrize(
            "make_deployment", ["make_direct_deployment", "make_relay"], ids=["direct", "relayed"], indirect=True
        )


@pytest.fixture(scope="session", autouse=True)
def _shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """Let all processes of a run share the template of the data folders."""
    base = tmp_path_factory.getbasetemp()
    DataFolders.shared = base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Server]:
    """The PostgreSQL server of the run. All xdist workers share it, and the last worker to finish stops it.

    TEST_DATABASE selects another server, and then each xdist worker has its own: `debian` is the system's PostgreSQL,
    `pgbouncer` is a PgBouncer in front of it.
    """
    kind = os.environ.get("TEST_DATABASE") or "embedded"
    if kind == "embedded":
        base = tmp_path_factory.getbasetemp()
        server = EmbeddedPostgres((base if worker_id == "master" else base.parent) / "postgres")
        server.start()
        for statement in (*NO_SYNC.split(";"), "select pg_reload_conf()"):
            asyncio.run(execute(server.url, statement))
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

    async def create() -> None:
        await execute(postgres.url, f'create database "{name}"')
        await migrate(named_database(postgres.url, name))

    asyncio.run(create())
    return name


@pytest.fixture
async def database_url(postgres: Server, template: str) -> AsyncIterator[str]:
    async with fresh_database(postgres, template) as url:
        yield url


@pytest.fixture
async def db(postgres: Server, database_url: str) -> AsyncIterator[Database]:
    database = server_database(postgres, database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage((tmp_path / "files").as_uri())


@pytest.fixture
def make_deployment(request: pytest.FixtureRequest) -> MakeDeployment:
    """`make_direct_deployment`. Tests that are marked `also_relayed` run with `make_relay` too."""
    make: MakeDeployment = request.getfixturevalue(getattr(request, "param", "make_direct_deployment"))
    return make


@pytest.fixture
async def make_direct_deployment(db: Database, storage: Storage) -> AsyncIterator[MakeDeployment]:
    """Returns a function that creates a deployment. Its arguments are the routes, by default the misbehaving engine."""
    deployments: list[Deployment] = []

    async def make(*routes: dict[str, object], concurrency: int = 100, units_limit: int | None = None) -> Deployment:
        deployments.append(
            await build_deployment(db, storage, *routes, concurrency=concurrency, units_limit=units_limit)
        )
        return deployments[-1]

    yield make
    for deployment in deployments:
        await deployment.close()


@pytest.fixture
async def make_relay(
    postgres: Server, template: str, db: Database, storage: Storage, tmp_path: Path
) -> AsyncIterator[MakeDeployment]:
    """Returns a function that creates a relay and its upstream deployment. Its arguments are the upstream's routes."""
    async with relaying(postgres, template, db, storage, tmp_path) as make:
        yield make


@pytest.fixture
async def api(make_deployment: MakeDeployment) -> AsyncIterator[Api]:
    """A deployment whose API is served. It has no worker."""
    async with serving(await make_deployment()) as served:
        yield served
