"""Databases for tests: the URLs of the test run's server, and fresh copies of the migrated template."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from framehouse.adapters.postgres.pool import Database


@dataclass(frozen=True)
class Server:
    """The URLs of the run's PostgreSQL and of its pooler. `pooled_url` is empty if there is no pooler."""

    url: str
    pooled_url: str = ""


def named_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def execute(url: str, statement: str) -> None:
    """Run one or more statements on a separate connection."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def fresh_database(postgres: Server, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database, which is dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    await execute(postgres.url, f'create database "{name}" template "{template}" strategy file_copy')
    yield named_database(postgres.url, name)
    await execute(postgres.url, f'drop database "{name}" with (force)')


def server_database(server: Server, url: str, *, size: int = 8) -> Database:
    """A database of the run's server, through its pooler if there is one. The caller opens it."""
    if not server.pooled_url:
        return Database(url, size=size)
    return Database(named_database(server.pooled_url, urlsplit(url).path[1:]), size=size, direct_url=url)
