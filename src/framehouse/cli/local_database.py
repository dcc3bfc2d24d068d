"""Database access for commands."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.pool import Database
from framehouse.cli.output import Problem
from framehouse.domain.account import Account
from framehouse.settings import load_settings
from framehouse.wiring import open_database

Result = TypeVar("Result")


def with_database(data_dir: Path | None, config: Path | None, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Open the configured database, call `work`, and return the result. A running server is not required."""

    async def run() -> Result:
        async with open_database(load_settings(config, data_dir=data_dir)) as db:
            return await work(db)

    return asyncio.run(run())


async def get_account(db: Database, name: str) -> Account:
    """Return the account with this name. Raises Problem if the account does not exist."""
    account = await account_store.find_account(db, name)
    if account is None:
        raise Problem(f'There is no account "{name}". See: framehouse account list')
    return account
