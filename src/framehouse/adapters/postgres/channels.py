"""NOTIFY channels, and what each of them wakes. A lost notification only costs the time until the next poll."""

from framehouse.adapters.postgres.pool import Database

BATCHES_CHANNEL = "framehouse_batches"
"""Batches may be due. No payload."""
ELEMENTS_CHANNEL = "framehouse_elements"
"""Elements may be due. No payload."""
ENDED_CHANNEL = "framehouse_ended"
"""The task or element with this id has ended."""
WAKE_CHANNEL = "framehouse_hasten"
"""An upstream has news of the open order of the batch with this id."""


async def notify(db: Database, channel: str, payload: str) -> None:
    """Wake the listeners of a channel. Call it after the transaction that has the news, because inside, it takes a lock
    that all commits share. Nothing is lost with this transaction, so it does not wait for the disk."""
    await db.row(
        "select pg_notify(:channel, :payload), set_config('synchronous_commit', 'off', true)",
        channel=channel,
        payload=payload,
    )
