"""Find out whether an image was made here, from the statements in its file and from similar images in the database."""

from uuid import UUID

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres.image_hashes import find_named_image, find_similar_image
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.signing_identities import known_chains
from framehouse.domain.verification import FileClaims, RecordedImage, Verification, judge


async def verify(
    content: bytes, *, checker: ImageChecker, db: Database | None, chain: str = "", account_id: int = 0
) -> Verification:
    """Verify the file of an image.

    The database contains the certificates with which this deployment signs images. `chain` is a further certificate
    chain as PEM, or empty. Without a database, only a signature with this chain can show that an image was made here.
    `account_id` is the account that sent the image, or 0. Raises BadImage.
    """
    chains = {chain, *(await known_chains(db) if db else ())} - {""}
    anchors = "\n".join(sorted(chains)).encode()
    claims = await checker.read_claims(content, anchors, account_id=account_id)
    named = await _named_image(db, claims) if db else None
    found = judge(claims, named, None)
    if db is None or found.evidence:
        return found
    hashes = [bytes.fromhex(hash) for hash in claims.hashes]
    return judge(claims, named, await find_similar_image(db, hashes, account_id))


async def _named_image(db: Database, claims: FileClaims) -> RecordedImage | None:
    """Return the recorded image that the file names."""
    if not (name := claims.named_image):
        return None
    try:
        task_id = UUID(name.task_id)
    except ValueError:
        return None
    return await find_named_image(db, task_id, name.index, [bytes.fromhex(hash) for hash in claims.hashes])
