"""Count the images in flight and the requests of accounts at upstreams, over all workers."""

from uuid import UUID

from framehouse.adapters.postgres.advisory_locks import PLACE_LOCKS, REQUEST_LOCKS
from framehouse.adapters.postgres.pool import Database

_REQUESTS_OF = "upstream account"
"""The value of the column `model` of `route_requests` for requests of accounts at upstreams."""


class ClaimLost(Exception):
    """Raised when the worker has lost its claim of the batch."""


async def take_places(
    db: Database, batch_id: int, claim: UUID, account: str, places: int, *, limit: int | None
) -> int | None:
    """Count `places` images of a batch as in flight for an account, instead of the batch's previous places.

    Returns the number of places of other batches. Returns None if other batches have places and the sum would exceed
    `limit`. Places that were taken more than 15 minutes ago do not count. Raises ClaimLost.
    """
    others = await db.value(
        "select take_places(:batch_id, :claim, :account, :places, :limit, :lock_class)",
        batch_id=batch_id,
        claim=claim,
        account=account,
        places=places,
        limit=limit,
        lock_class=PLACE_LOCKS,
    )
    if others == -1:
        raise ClaimLost
    return None if others is None else int(others)


async def release_places(db: Database, batch_id: int, account: str) -> None:
    await db.value(
        "delete from upstream_places where batch_id = :batch_id and account = :account returning true",
        batch_id=batch_id,
        account=account,
    )


async def take_account_request(db: Database, account: str, *, per_minute: int) -> float:
    """Count a request of an account that may send at most `per_minute` requests within any minute.

    Returns 0 if the request may be sent. Otherwise, the request is not counted, and the result is the number of seconds
    until the next request may be sent.
    """
    return float(
        await db.value(
            "select take_request(:model, :account, :limit, :lock_class)",
            model=_REQUESTS_OF,
            account=account,
            limit=per_minute,
            lock_class=REQUEST_LOCKS,
        )
    )
