"""Find generated images by their perceptual hashes."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.verification import SIMILAR_DISTANCE, RecordedImage

_BITS, _BANDS, _BAND_BITS = 256, 16, 16


async def find_named_image(db: Database, task_id: UUID, index: int, hashes: Sequence[bytes]) -> RecordedImage | None:
    """Return a finished image of a task, with its distance to the most similar of `hashes`."""
    row = await db.row(sql("find_named_image"), task_id=task_id, index=index, hashes=_bit_strings(hashes))
    return RecordedImage(**row) if row else None


async def find_similar_image(db: Database, hashes: Sequence[bytes], account_id: int = 0) -> RecordedImage | None:
    """Return the image that is most similar to one of `hashes`, with a distance of at most SIMILAR_DISTANCE.

    An image of the account `account_id` takes precedence over more similar images of other accounts. First, only images
    with a band of equal bits are searched. This search is fast and finds all images with a distance of at most 15, and
    almost all others. Then one different bit per band is allowed. If 31 bits of two hashes differ, at most one bit
    differs in one of the 16 bands, so the second search finds all similar images.
    """
    if not hashes:
        return None
    for search in (_bands, _bands_with_one_different_bit):
        row = await db.row(
            sql("find_similar_image"),
            hashes=_bit_strings(hashes),
            bands=[band for hash in hashes for band in search(hash)],
            max_distance=SIMILAR_DISTANCE,
            account_id=account_id,
        )
        if row:
            return RecordedImage(**row)
    return None


def _bands(hash: bytes) -> list[int]:
    """Return the entries of the column `bands` for a hash."""
    return [band << _BAND_BITS | int.from_bytes(hash[2 * band : 2 * band + 2]) for band in range(_BANDS)]


def _bands_with_one_different_bit(hash: bytes) -> list[int]:
    return [band ^ 1 << bit for band in _bands(hash) for bit in range(_BAND_BITS)]


def _bit_strings(hashes: Sequence[bytes]) -> list[asyncpg.BitString]:
    return [asyncpg.BitString.frombytes(hash, _BITS) for hash in hashes]
