"""Read the charges in the ledger. The database function charge_account writes one row for each charge."""

from collections.abc import Sequence
from datetime import UTC, datetime

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.billing import FIRST_ID, Charge

_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


async def list_charges(
    db: Database,
    account_id: int | None = None,
    *,
    limit: int,
    before: int = FIRST_ID,
    since: datetime | None = None,
    until: datetime | None = None,
    keys: Sequence[str] | None = None,
) -> list[Charge]:
    """Return up to `limit` charges with an id below `before`, newest first.

    If `account_id` is None, the result contains the charges of all accounts. `since` and `until` limit the times of the
    charges: `since` is included, and `until` is excluded. If `keys` is not None, the result contains only charges of
    API keys with these prefixes.
    """
    rows = await db.rows(
        sql("list_charges"),
        account_id=account_id,
        limit=limit,
        before=before,
        since=since or _EARLIEST,
        until=until or _LATEST,
        keys=None if keys is None else list(keys),
    )
    return [Charge(**{name: row[name] for name in Charge.__dataclass_fields__}) for row in rows]


async def units_used_at(db: Database, account_id: int, moment: datetime) -> int:
    """Return the number of units that an account had used before `moment`."""
    used = await db.value(
        "select units_after from charges where account_id = :account_id and charged_at < :moment "
        "order by id desc limit 1",
        account_id=account_id,
        moment=moment,
    )
    return int(used or 0)
