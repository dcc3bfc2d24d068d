"""Stored references in Postgres: which content is where, whether it was checked, and when nobody needs it any more."""

from collections.abc import Sequence
from datetime import timedelta

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.reference import Reference


async def use_reference(db: Database, sha256: str, new_key: str) -> str:
    """The key of this content, which nobody removes for a grace from now; `new_key` where it has none yet.

    The file may not be there yet: whoever asks writes it then.
    """
    return str(await db.value(sql("use_reference"), sha256=sha256, key=new_key))


async def find_checked(db: Database, key: str) -> tuple[int, int] | None:
    """The upright size in pixels of a file that was decoded to the end before; None where it was not."""
    row = await db.row(
        "select width, height from stored_references where key = :key and checked_at is not null", key=key
    )
    return (row["width"], row["height"]) if row else None


async def mark_checked(db: Database, key: str, width: int, height: int) -> None:
    """Remember that a file was decoded to the end, and its upright size."""
    await db.row(
        "update stored_references set checked_at = now(), width = :width, height = :height where key = :key",
        key=key,
        width=width,
        height=height,
    )


async def delete_unused_references(db: Database, grace: timedelta, limit: int) -> int:
    """Delete rows of contents that were not used for `grace` and are not needed; how many were looked at, at most
    `limit`. Their files are deleted afterwards: see `files_to_delete`."""
    return int(await db.value(sql("delete_unused_references"), grace=grace, limit=limit))


async def files_to_delete(db: Database, limit: int) -> list[str]:
    """Keys of files that are to be deleted because their rows are, oldest first."""
    rows = await db.rows("select key from forgotten_files order by forgotten_at limit :limit", limit=limit)
    return [row["key"] for row in rows]


async def mark_removed(db: Database, keys: Sequence[str]) -> None:
    await db.row("delete from forgotten_files where key = any(:keys::text[])", keys=list(keys))


def reference_columns(reference: Reference) -> dict[str, object]:
    """A reference in a row of a task or an element: what is not known yet is null."""
    return {
        "url": reference.url or None,
        "key": reference.key or None,
        "width": reference.width or None,
        "height": reference.height or None,
    }
