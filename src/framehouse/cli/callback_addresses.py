"""Whether the local deployment sends callbacks to private addresses."""

from framehouse.adapters.postgres import callback_queue
from framehouse.adapters.postgres.pool import Database
from framehouse.settings import Settings


async def allows_private(db: Database, settings: Settings) -> bool:
    """Return whether the workers of the local deployment send callbacks to private addresses.

    The environment of a running worker may differ from the environment of this command, so the rule that the worker
    stored in the database takes precedence. The settings apply if no worker has started yet.
    """
    stored = await callback_queue.find_address_rule(db)
    return settings.allow_private_addresses if stored is None else stored
