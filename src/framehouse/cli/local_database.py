"""Database access for commands."""

import asyncio
import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.pool import Database
from framehouse.cli.output import Problem
from framehouse.domain.account import Account
from framehouse.engines.registry import Registry, open_registry
from framehouse.settings import load_settings
from framehouse.wiring import open_database

Result = TypeVar("Result")


def with_database(data_dir: Path | None, config: Path | None, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Open the configured database, call `work`, and return the result. A running server is not required."""

    async def run() -> Result:
        async with open_database(load_settings(config, data_dir=data_dir)) as db:
            return await work(db)

    return asyncio.run(run())


def with_registry(
    data_dir: Path | None, config: Path | None, work: Callable[[Database, Registry], Awaitable[Result]]
) -> Result:
    """Open the configured database and the engines, call `work`, and return the result."""
    settings = load_settings(config, data_dir=data_dir)

    async def run() -> Result:
        registry = open_registry(settings.served_models(), settings.worker_labels, sandbox=settings.sandbox)
        try:
            async with open_database(settings) as db:
                return await work(db, registry)
        finally:
            await registry.close()

    return asyncio.run(run())


def operator() -> str:
    """Return the user and the host of this process, which the audit log contains for each change."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user has no name, for example in a container
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


async def get_account(db: Database, name: str) -> Account:
    """Return the account with this name. Raises Problem if the account does not exist."""
    account = await account_store.find_account(db, name)
    if account is None:
        if not await account_store.list_accounts(db):
            raise Problem(
                f'There is no account "{name}", because no server has started with this data folder. If your server '
                "uses another data folder, specify it with --data-dir. In a checkout, `make serve` uses .framehouse."
            )
        raise Problem(f'There is no account "{name}". See: framehouse account list')
    return account
