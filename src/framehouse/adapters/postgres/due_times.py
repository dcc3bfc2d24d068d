"""Due times and leases that a clock has put off too far, because it has gone back since."""

from datetime import timedelta

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain import callback, element

_CLOCK_GRACE_S = 30.0
"""Small corrections of the clock put nothing off that matters."""


async def fix_due_times(db: Database, longest_pause: timedelta) -> int:
    """Make due what waits only because the clock has gone back: batches, elements and callbacks; how many.

    `longest_pause` is that of batches and elements between two attempts.
    """
    fixed = await db.value(
        sql("fix_due_times"),
        longest_pause=longest_pause,
        element_lease=timedelta(seconds=element.LEASE_S + _CLOCK_GRACE_S),
        callback_lease=timedelta(seconds=callback.LEASE_S + _CLOCK_GRACE_S),
        callback_pauses=[timedelta(seconds=pause_s + _CLOCK_GRACE_S) for pause_s in callback.longest_pauses_s()],
        callback_limit=timedelta(seconds=callback.GIVE_UP_AFTER_S),
        asking_codes=list(callback.ASKING_CODES),
    )
    return int(fixed)
