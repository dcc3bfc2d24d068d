"""Save an uploaded image, and use uploads as references."""

from collections.abc import Sequence
from uuid import UUID

from framehouse.adapters.postgres import upload_store
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Refused
from framehouse.domain.reference import Content, LongString, Reference, SentImage
from framehouse.domain.upload import MAX_UPLOADS, UPLOAD_VALID_S, upload_id
from framehouse.pipeline.references import InspectedImage, inspect_input, store


async def save_upload(content: Content, *, id: UUID, account_id: int, db: Database, storage: Storage) -> None:
    """Check an uploaded image against the rules for references, and save the image.

    The file is stored before the upload is recorded. If the process dies in between, the client can repeat the upload,
    and the sweeper deletes unneeded files. Raises Refused (1201) if the image is invalid. Raises Refused (1302) if the
    account is disabled or has too many uploads.
    """
    inspected = await inspect_input(LongString("", content.size, content))
    if not isinstance(inspected, InspectedImage):
        raise Refused(1201, f"the file {inspected}")
    reference = await store(db, storage, inspected)
    if not await upload_store.save_upload(db, id, account_id, reference, max_uploads=MAX_UPLOADS):
        message = f"the account is disabled or has {MAX_UPLOADS:,} uploads; an upload is deleted after 24 hours"
        raise Refused(1302, message, retry_after_s=UPLOAD_VALID_S)


async def find_uploads(
    db: Database, account_id: int, images: Sequence[SentImage]
) -> tuple[dict[str, Reference], list[str]]:
    """Find the uploads that `images` refers to.

    Returns the stored files of the uploads, keyed by request field, and a list of problems. The list contains a problem
    for each upload that does not exist, has expired or belongs to another account.
    """
    ids = {
        sent.field: id for sent in images if isinstance(sent.image, str) and (id := upload_id(sent.image)) is not None
    }
    if not ids:
        return {}, []
    found = await upload_store.use_uploads(db, account_id, list(ids.values()))
    problems = [
        f"{field} refers to an upload that does not exist or has expired"
        for field, id in ids.items()
        if id not in found
    ]
    return {field: found[id] for field, id in ids.items() if id in found}, problems
