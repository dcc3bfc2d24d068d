"""NOTIFY channels, and the event that each channel announces. If a notification is lost, polling detects the event."""

from framehouse.adapters.postgres.pool import Database

BATCHES_CHANNEL = "framehouse_batches"
"""Batches may be due. No payload."""
ELEMENTS_CHANNEL = "framehouse_elements"
"""Elements may be due. No payload."""
ENDED_CHANNEL = "framehouse_ended"
"""The task or element with this id has ended."""
WAKE_CHANNEL = "framehouse_hasten"
"""An upstream has sent a callback about the open order of the batch with this id."""


async def notify(db: Database, channel: str, payload: str) -> None:
    """Wake the listeners of a channel.

    Call this function after the commit of the transaction that made the change, not inside it: NOTIFY takes a lock that
    all commits share. This transaction does not wait for the disk, because a crash loses only the notification.
    """
    await db.row(
        "select pg_notify(:channel, :payload), set_config('synchronous_commit', 'off', true)",
        channel=channel,
        payload=payload,
    )
