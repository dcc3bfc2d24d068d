"""Store a finished picture and record it; the last one ends the task, charges it and frees its quota."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from framehouse.adapters.images.encode import EXTENSIONS
from framehouse.adapters.postgres import claims
from framehouse.adapters.postgres.claims import Claimed, Made
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.sizes import Size


@dataclass(frozen=True, slots=True)
class Finished:
    """A picture's file, and its marked copy (empty where none was asked for)."""

    content: bytes
    marked: bytes
    media_type: str
    size: Size


def folder_of(task_id: object) -> str:
    """Where all files of a task's pictures are."""
    return f"images/{task_id}/"


async def settle_shot(
    batch: Claimed,
    index: int,
    finished: Finished,
    *,
    engine: str,
    db: Database,
    storage: Storage,
    retention: timedelta,
) -> Literal["lost", "kept", "succeeded"]:
    """Keep one picture. `lost`: the task ended or the batch is somebody else's, and nothing was changed.

    The name holds a part of the claim: a late twin writes beside a recorded picture, never over it.
    """
    name = f"{folder_of(batch.task_id)}{index}-{batch.claim.hex[:12]}"
    extension = EXTENSIONS[finished.media_type]
    key, watermark_key = f"{name}.{extension}", f"{name}-marked.{extension}" if finished.marked else ""
    await storage.put(key, finished.content)
    if watermark_key:
        await storage.put(watermark_key, finished.marked)
    made = Made(index, engine, key, watermark_key, finished.media_type, finished.size.width, finished.size.height)
    outcome = await claims.settle_shot(db, batch.id, batch.claim, made, retention)
    if outcome == "lost":
        await storage.delete([k for k in (key, watermark_key) if k])
    elif outcome == "succeeded":
        await claims.notify(db, claims.ENDED_CHANNEL, str(batch.task_id))
    return outcome
