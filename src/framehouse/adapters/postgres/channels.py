"""The NOTIFY channels, and the event that each channel announces.

If a notification is lost, the listeners detect the event by polling.
"""

from framehouse.adapters.postgres.pool import Database

BATCHES_CHANNEL = "framehouse_batches"
"""The channel that announces that batches may be due. The payload is empty."""
ELEMENTS_CHANNEL = "framehouse_elements"
"""The channel that announces that elements may be due. The payload is empty."""
ENDED_CHANNEL = "framehouse_ended"
"""The channel that announces the end of an image task or an element task. The payload is the task id."""
ROUTES_CHANNEL = "framehouse_routes"
"""The channel that announces that an operator has paused, drained or resumed a route. The payload is empty."""
WAKE_CHANNEL = "framehouse_hasten"
"""The channel that announces that an upstream has sent a callback about an open order. The payload is the batch id."""


async def notify(db: Database, channel: str, payload: str) -> None:
    """Send a notification to the listeners of a channel.

    Call this function only after the commit of the transaction that causes the event, not inside that transaction. The
    reason is that the commit of a transaction with NOTIFY takes a lock, and the commits of all other transactions with
    NOTIFY wait for that lock. The commit of the notification itself does not wait for the disk, because a crash would
    lose only the notification.
    """
    await db.row(
        "select pg_notify(:channel, :payload), set_config('synchronous_commit', 'off', true)",
        channel=channel,
        payload=payload,
    )
