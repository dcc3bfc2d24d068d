"""Read the previews of unfinished images, which ComfyUI sends as binary messages over its WebSocket."""

import json
import struct

MAX_PREVIEW_BYTES = 4_000_000
"""The maximum size of a message with a preview. ComfyUI's previews have at most 512 px per side by default."""
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_HEADER_BYTES = 8
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def read_preview(message: bytes, job_id: str) -> bytes | None:
    """Return the JPEG or PNG file in a binary message. Returns None if the message contains no preview of the job.

    Only some messages name their job. The caller must check that the server is running the job, because a server may
    send the previews of other jobs to all clients. Only the first bytes of the file are checked.
    """
    if not _HEADER_BYTES <= len(message) <= MAX_PREVIEW_BYTES:
        return None
    kind, number = struct.unpack_from(">II", message)
    start = _HEADER_BYTES
    if kind == _PREVIEW_WITH_METADATA:
        start += number
        try:
            if json.loads(message[_HEADER_BYTES:start])["prompt_id"] != job_id:
                return None
        except (ValueError, RecursionError, KeyError, TypeError, IndexError):
            return None
    elif kind != _PREVIEW:
        return None
    file = message[start:]
    return file if file.startswith((_JPEG, _PNG)) else None
