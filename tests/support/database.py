"""Databases for tests: where the server of the run is, and fresh copies of the migrated template."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from framehouse.adapters.postgres.pool import Database


@dataclass(frozen=True)
class Server:
    """Where the run's PostgreSQL is, and how through a pooler, if there is one."""

    url: str
    pooled_url: str = ""


def named_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def execute(url: str, statement: str) -> None:
    """Run a statement, or several, on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_database(postgres: Server, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database that is gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(postgres.url, f'create database "{name}" template "{template}" strategy file_copy')
    yield named_database(postgres.url, name)
    await execute(postgres.url, f'drop database "{name}" with (force)')


def server_database(server: Server, url: str, *, size: int = 8) -> Database:
    """A database of the run's server, by its pooler where there is one; still to be opened."""
    if not server.pooled_url:
        return Database(url, size=size)
    return Database(named_database(server.pooled_url, urlsplit(url).path[1:]), size=size, direct_url=url)
