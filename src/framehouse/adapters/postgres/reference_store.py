"""Stored references in Postgres: the file of each content, whether it was checked, and when it is no longer needed."""

from collections.abc import Sequence
from datetime import timedelta

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.reference import Reference


async def use_reference(db: Database, sha256: str, new_key: str) -> str:
    """Return the storage key of this content, and protect its file from deletion for a grace period from now.

    The key is `new_key` if the content is new. The file may not exist yet; then the caller must write it.
    """
    return str(await db.value(sql("use_reference"), sha256=sha256, key=new_key))


async def find_checked(db: Database, key: str) -> tuple[int, int] | None:
    """Return the upright size in pixels of a file that was decoded completely before; None if it was not."""
    row = await db.row(
        "select width, height from stored_references where key = :key and checked_at is not null", key=key
    )
    return (row["width"], row["height"]) if row else None


async def mark_checked(db: Database, key: str, width: int, height: int) -> None:
    """Record that a file was decoded completely, and its upright size in pixels."""
    await db.row(
        "update stored_references set checked_at = now(), width = :width, height = :height where key = :key",
        key=key,
        width=width,
        height=height,
    )


async def delete_unused_references(db: Database, grace: timedelta, limit: int) -> int:
    """Examine up to `limit` contents that were not used for `grace`, and delete the rows of those that are not needed.

    Returns the number of examined contents. The files are deleted later: see `files_to_delete`.
    """
    return int(await db.value(sql("delete_unused_references"), grace=grace, limit=limit))


async def files_to_delete(db: Database, limit: int) -> list[str]:
    """Return up to `limit` storage keys of files whose rows have been deleted, oldest first."""
    rows = await db.rows("select key from forgotten_files order by forgotten_at limit :limit", limit=limit)
    return [row["key"] for row in rows]


async def mark_removed(db: Database, keys: Sequence[str]) -> None:
    await db.row("delete from forgotten_files where key = any(:keys::text[])", keys=list(keys))


def reference_columns(reference: Reference) -> dict[str, object]:
    """Return the columns of a reference in a row of a task or an element. An unknown value is None."""
    return {
        "url": reference.url or None,
        "key": reference.key or None,
        "width": reference.width or None,
        "height": reference.height or None,
    }
