"""Stored references in Postgres: which content is where, whether it was checked, and when nobody needs it any more."""

from collections.abc import Sequence
from datetime import timedelta

from framehouse.adapters.postgres.pool import Database, sql


async def use_reference(db: Database, sha256: str, new_key: str) -> str:
    """The key of this content, which nobody removes for a grace from now; `new_key` where it has none yet.

    The file may not be there yet: whoever asks writes it then.
    """
    return str(await db.value(sql("use_reference"), sha256, new_key))


async def find_checked(db: Database, key: str) -> tuple[int, int] | None:
    """The upright size in pixels of a file that was decoded to the end before; None where it was not."""
    row = await db.row("select width, height from stored_references where key = $1 and checked_at is not null", key)
    return (row["width"], row["height"]) if row else None


async def mark_checked(db: Database, key: str, width: int, height: int) -> None:
    """Remember that a file was decoded to the end, and its upright size."""
    await db.row(
        "update stored_references set checked_at = now(), width = $2, height = $3 where key = $1", key, width, height
    )


async def forget_references(db: Database, grace: timedelta, most: int) -> int:
    """Forget contents that nobody has used for `grace` and nobody needs; how many were looked at, at most `most`."""
    return int(await db.value(sql("forget_references"), grace, most))


async def forgotten_files(db: Database, most: int) -> list[str]:
    """Keys whose files are to be removed, oldest first."""
    rows = await db.rows("select key from forgotten_files order by forgotten_at limit $1", most)
    return [row["key"] for row in rows]


async def mark_removed(db: Database, keys: Sequence[str]) -> None:
    await db.row("delete from forgotten_files where key = any($1::text[])", list(keys))
