"""Store data about reference files in Postgres: their storage keys, the times of their last use, and image sizes."""

from collections.abc import Sequence
from datetime import timedelta

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.reference import Reference


async def use_reference(db: Database, sha256: str, new_key: str) -> str:
    """Return the storage key of a reference, and protect its file from deletion for a grace period that starts now.

    `sha256` is the hash of the file's content. If no stored reference has this hash, the key is `new_key`. If the
    storage does not contain the file yet, the calling code must write the file.
    """
    return str(await db.value(sql("use_reference"), sha256=sha256, key=new_key))


async def find_checked(db: Database, key: str) -> tuple[int, int] | None:
    """Return the width and height in pixels, after the EXIF rotation, of an image that has been decoded completely.

    Returns None if the image has not been decoded completely.
    """
    row = await db.row(
        "select width, height from stored_references where key = :key and checked_at is not null", key=key
    )
    return (row["width"], row["height"]) if row else None


async def mark_checked(db: Database, key: str, width: int, height: int) -> None:
    """Record that an image was decoded completely. Save its width and height in pixels, after the EXIF rotation."""
    await db.row(
        "update stored_references set checked_at = now(), width = :width, height = :height where key = :key",
        key=key,
        width=width,
        height=height,
    )


async def delete_unused_references(db: Database, grace: timedelta, limit: int) -> int:
    """Check up to `limit` references that were not used for the period `grace`. Delete the rows of unneeded references.

    A reference is unneeded if the view `needed_references` does not list the reference. The files are deleted later
    (see `files_to_delete`). Returns the number of checked references.
    """
    return int(await db.value(sql("delete_unused_references"), grace=grace, limit=limit))


async def files_to_delete(db: Database, limit: int) -> list[str]:
    """Return up to `limit` storage keys of files whose rows have been deleted, oldest first."""
    rows = await db.rows("select key from forgotten_files order by forgotten_at limit :limit", limit=limit)
    return [row["key"] for row in rows]


async def mark_removed(db: Database, keys: Sequence[str]) -> None:
    await db.row("delete from forgotten_files where key = any(:keys::text[])", keys=list(keys))


def reference_columns(reference: Reference) -> dict[str, object]:
    """Return the values of the columns that store a reference of a task or an element. Unknown values are None."""
    return {
        "url": reference.url or None,
        "key": reference.key or None,
        "width": reference.width or None,
        "height": reference.height or None,
    }
