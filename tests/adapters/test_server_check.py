"""Servers that somebody else runs: what we can use, through a pooler too, and what is told of those that we cannot."""

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

WRONG = services.PASSWORD + "x"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key", folder / "certificate"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", made], check=True, capture_output=True)
    return {"key": key.read_text(), "certificate": made.read_text(), "path": str(made)}


@pytest.fixture(scope="module")
def server() -> Iterator[services.Postgres]:
    with services.postgres() as started:
        yield started


@pytest.fixture(scope="module")
def pooler(server: services.Postgres) -> Iterator[services.PgBouncer]:
    with services.pgbouncer(server, connections=3) as started:
        yield started


async def said(url: str, direct_url: str = "") -> str:
    with pytest.raises(BadServer) as refused:
        await check_server(url, direct_url=direct_url)
    assert "secret" not in str(refused.value)
    return str(refused.value)


async def test_what_cannot_be_used_is_told(server: services.Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await check_server(server.url())
    assert (found.pooled, found.tls) == (False, False)
    assert "rejects the user or the password" in await said(server.url(password=WRONG))
    assert 'database "none" does not exist' in await said(server.url("none"))
    assert "cannot be reached" in await said(f"postgresql://u:secret@127.0.0.1:{free_port()}/x")
    assert "docs/many-machines.md" in await said(server.url() + "?sslmode=require")
    assert "sslmode" in await said(server.url() + "?sslmode=nonsense")
    for wrong in ("nonsense", "mysql://u:secret@host/x", "postgresql://u:secret@127.0.0.1:port/x"):
        assert "FRAMEHOUSE_DATABASE_URL" in await said(wrong)
    await execute(server.url(), "create role guest login password 'a secret'")
    assert 'alter database "framehouse" owner to "guest"' in await said(server.url(user="guest", password="a secret"))
    monkeypatch.setattr(checks, "_MIN_VERSION", 99)
    assert "too old: it must be 99 or newer" in await said(server.url())


async def test_tls_as_the_url_says(certificate: dict[str, str], tmp_path: Path) -> None:
    with services.postgres(tls=(certificate["certificate"], certificate["key"])) as server:
        assert (await check_server(server.url() + "?sslmode=require")).tls
        whole = f"?sslmode=verify-full&sslrootcert={certificate['path']}"
        assert (await check_server(server.url() + whole)).tls
        (tmp_path / "home").mkdir()
        assert "TLS connection" in await said(server.url().replace("127.0.0.1", "localhost") + whole)
        assert not (await check_server(server.url() + "?sslmode=disable")).tls


async def test_a_pooler_needs_a_way_past_it(server: services.Postgres, pooler: services.PgBouncer) -> None:
    assert "Set FRAMEHOUSE_DIRECT_DATABASE_URL" in await said(pooler.url())
    found = await check_server(pooler.url(), direct_url=server.url())
    assert (found.pooled, found.direct_pooled) == (True, False)
    assert (await check_server(pooler.url(), direct_url=pooler.url())).direct_pooled
    assert "FRAMEHOUSE_DIRECT_DATABASE_URL: 127.0.0.1" in await said(pooler.url(), server.url(password=WRONG))


async def test_statements_go_through_a_pooler_and_sessions_past_it(
    server: services.Postgres, pooler: services.PgBouncer
) -> None:
    """Three connections for sixteen clients: each statement meets a server that has not seen the one before."""
    await migrate(server.url())
    databases = [Database(pooler.url(), size=8, direct_url=server.url()) for _ in range(2)]
    heard: list[str] = []
    for db in databases:
        await db.open()
    listening = asyncio.create_task(databases[0].listen({"told": heard.append}, lock=(7, 7)))
    try:
        await eventually(lambda: _holds(server.url()))
        for turn in range(20):
            asked = [db.value(f"select $1::int + {n % 5}, '{n % 5}'", turn) for db in databases for n in range(16)]
            assert await asyncio.gather(*asked) == [turn + n % 5 for _ in databases for n in range(16)]
        assert await databases[1].rows("select unnest($1::text[]) as word", ["a", "b"])
        await databases[1].value("select pg_notify('told', 'you')")
        await eventually(lambda: _is_in("you", heard))
        server.kill()
        server.start()
        assert await databases[1].value("select 1") == 1
        await eventually(lambda: _holds(server.url()))
    finally:
        listening.cancel()
        for db in databases:
            await db.close()


async def _is_in(word: str, heard: list[str]) -> bool:
    return word in heard


async def _holds(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        found = await connection.fetchval("select count(*) from pg_locks where locktype = 'advisory' and classid = 7")
        return bool(found)
    finally:
        await connection.close()
