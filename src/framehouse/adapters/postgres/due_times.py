"""Repair due times and leases that lie too far in the future because the clock was set back."""

from datetime import timedelta

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain import callback, element

_CLOCK_GRACE_S = 30.0
"""The tolerance of `fix_due_times`, in seconds. Leases of elements and callback messages, and backoff pauses of
callback messages, are changed only if they exceed their maximum by more than this tolerance."""


async def fix_due_times(db: Database, longest_pause: timedelta) -> int:
    """Make batches, elements and callbacks due if they wait only because the clock was set back.

    The function also shortens leases that are too long because the clock was set back. `longest_pause` is an upper
    limit for the pause between two attempts of a batch or an element. The limits for callbacks come from
    `domain.callback`. Returns the number of changed rows.
    """
    changed_rows = await db.value(
        sql("fix_due_times"),
        longest_pause=longest_pause,
        element_lease=timedelta(seconds=element.LEASE_S + _CLOCK_GRACE_S),
        callback_lease=timedelta(seconds=callback.LEASE_S + _CLOCK_GRACE_S),
        callback_pauses=[timedelta(seconds=pause_s + _CLOCK_GRACE_S) for pause_s in callback.longest_pauses_s()],
        callback_limit=timedelta(seconds=callback.GIVE_UP_AFTER_S),
        retry_after_codes=list(callback.RETRY_AFTER_CODES),
    )
    return int(changed_rows)
