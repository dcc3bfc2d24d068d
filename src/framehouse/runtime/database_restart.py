"""Restart the embedded PostgreSQL server after it has died."""

import asyncio
import logging

from framehouse.adapters.postgres.embedded import EmbeddedError, EmbeddedPostgres

log = logging.getLogger(__name__)
_CHECK_S = 0.5


async def keep_database_running(embedded: EmbeddedPostgres) -> None:
    """Check the server periodically, and restart it if it has died. A failed restart is retried at the next check."""
    while True:
        await asyncio.sleep(_CHECK_S)
        try:
            await asyncio.to_thread(embedded.ensure_running)
        except EmbeddedError as error:
            log.error("%s", error)  # noqa: TRY400 - the message is sufficient
