"""The two URLs of an upload: the client sends the file to one URL, and uses the other URL as a reference.

The client receives both URLs before it sends the file.
"""

import re
from uuid import UUID

UPLOAD_VALID_S = 3600
DOWNLOAD_VALID_S = 24 * 3600
MAX_UPLOADS = 1000
"""The maximum number of stored uploads per account. Each file is at most 10 MB, so the total is at most 10 GB."""
_DOWNLOAD_URL = re.compile(
    r"https?://[^/?#]+(?:/[^?#]*)?/uploads/[0-9]{1,19}/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"\?expires=[0-9]{1,12}&signature=[0-9a-f]{40}",
    re.IGNORECASE,
)


def upload_key(account_id: int, id: UUID) -> str:
    """Return the path of the upload URL, to which the client sends the file."""
    return f"uploads/put/{account_id}/{id}"


def download_key(account_id: int, id: UUID) -> str:
    """Return the path of the download URL, which the client uses as a reference."""
    return f"uploads/{account_id}/{id}"


def upload_id(url: str) -> UUID | None:
    """Return the id of an upload if the URL has the form of a download URL. Otherwise, return None.

    The host is not checked, because a proxy or a new value of `public_url` may change it. The signature need not be
    checked, because the calling code then looks up the id among the uploads of the account.
    """
    match = _DOWNLOAD_URL.fullmatch(url)
    return UUID(match[1]) if match else None
