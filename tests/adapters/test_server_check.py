"""The check of an external PostgreSQL server, directly and through a pooler, and the errors for unusable servers."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from framehouse.adapters.postgres import server_check as checks
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.server_check import BadServer, check_server
from tests.support import services
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.sockets import free_port

WRONG_PASSWORD = services.PASSWORD + "x"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key", folder / "certificate"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    output = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request.split(), *output], check=True, capture_output=True)
    return {"key": key.read_text(), "certificate": certificate.read_text(), "path": str(certificate)}


@pytest.fixture(scope="module")
def server() -> Iterator[services.Postgres]:
    with services.postgres() as started:
        yield started


@pytest.fixture(scope="module")
def pooler(server: services.Postgres) -> Iterator[services.Postgres]:
    with services.pgbouncer(server, connections=3) as started:
        yield started


async def error_text(url: str, direct_url: str = "") -> str:
    with pytest.raises(BadServer) as error:
        await check_server(url, direct_url=direct_url)
    assert "secret" not in str(error.value)
    return str(error.value)


async def test_the_error_of_an_unusable_server_has_its_reason(
    server: services.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = await check_server(server.url())
    assert (result.pooled, result.tls) == (False, False)
    assert "rejects the user or the password" in await error_text(server.url(password=WRONG_PASSWORD))
    assert 'database "none" does not exist' in await error_text(server.url("none"))
    assert "cannot be reached" in await error_text(f"postgresql://u:secret@127.0.0.1:{free_port()}/x")
    assert "docs/many-machines.md" in await error_text(server.url() + "?sslmode=require")
    assert "sslmode" in await error_text(server.url() + "?sslmode=nonsense")
    for bad_url in ("nonsense", "mysql://u:secret@host/x", "postgresql://u:secret@127.0.0.1:port/x"):
        assert "FRAMEHOUSE_DATABASE_URL" in await error_text(bad_url)
    await execute(server.url(), "create role guest login password 'a secret'")
    assert 'alter database "framehouse" owner to "guest"' in await error_text(
        server.url(user="guest", password="a secret")
    )
    monkeypatch.setattr(checks, "_MIN_VERSION", 99)
    assert "is too old. Version 99 or newer is required." in await error_text(server.url())


async def test_tls_is_used_as_the_url_specifies(certificate: dict[str, str], tmp_path: Path) -> None:
    with services.postgres(tls=(certificate["certificate"], certificate["key"])) as server:
        assert (await check_server(server.url() + "?sslmode=require")).tls
        verify_full = f"?sslmode=verify-full&sslrootcert={certificate['path']}"
        assert (await check_server(server.url() + verify_full)).tls
        (tmp_path / "home").mkdir()
        assert "TLS connection" in await error_text(server.url().replace("127.0.0.1", "localhost") + verify_full)
        assert not (await check_server(server.url() + "?sslmode=disable")).tls


async def test_a_pooler_needs_a_direct_url(server: services.Postgres, pooler: services.Postgres) -> None:
    assert "Set FRAMEHOUSE_DIRECT_DATABASE_URL" in await error_text(pooler.url())
    result = await check_server(pooler.url(), direct_url=server.url())
    assert (result.pooled, result.direct_pooled) == (True, False)
    assert (await check_server(pooler.url(), direct_url=pooler.url())).direct_pooled
    assert "FRAMEHOUSE_DIRECT_DATABASE_URL: 127.0.0.1" in await error_text(
        pooler.url(), server.url(password=WRONG_PASSWORD)
    )


async def test_statements_use_the_pooler_and_sessions_use_the_direct_url(
    server: services.Postgres, pooler: services.Postgres
) -> None:
    """The pooler has three connections for sixteen clients, so successive statements run in different sessions."""
    await migrate(server.url())
    databases = [Database(pooler.url(), size=8, direct_url=server.url()) for _ in range(2)]
    notifications: list[str] = []
    for db in databases:
        await db.open()
    listening = asyncio.create_task(databases[0].listen({"channel": notifications.append}, lock=(7, 7)))
    try:
        await eventually(lambda: _lock_is_held(server.url()))
        for turn in range(20):
            queries = [db.value(f"select $1::int + {n % 5}, '{n % 5}'", turn) for db in databases for n in range(16)]
            assert await asyncio.gather(*queries) == [turn + n % 5 for _ in databases for n in range(16)]
        assert await databases[1].rows("select unnest($1::text[]) as word", ["a", "b"])
        await databases[1].value("select pg_notify('channel', 'payload')")
        await eventually(lambda: _is_in("payload", notifications))
        server.kill()
        server.start()
        assert await databases[1].value("select 1") == 1
        await eventually(lambda: _lock_is_held(server.url()))
    finally:
        listening.cancel()
        for db in databases:
            await db.close()


async def _is_in(payload: str, notifications: list[str]) -> bool:
    return payload in notifications


async def _lock_is_held(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        count = await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory' and classid = 7")
        return bool(count)
    finally:
        await connection.close()
