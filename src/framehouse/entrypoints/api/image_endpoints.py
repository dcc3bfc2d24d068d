"""Pictures by their signed URLs, whole or in part."""

import hashlib
import re
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from framehouse.adapters.images.encode import EXTENSIONS
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.documentation import Answer, Json, Parameter
from framehouse.entrypoints.api.envelope import request_id_of
from framehouse.entrypoints.api.kling.responses import ERRORS
from framehouse.entrypoints.api.kling.schemas import ErrorOut

_KEY = re.compile(
    r"images/[0-9a-f-]{36}/[0-9a-f-]+(?:-marked)?\.(png|jpg|webp)|references/[0-9a-f]{64}(?:-[0-9a-f]{8})?"
)
_PIECE_BYTES = 1024 * 1024
"""What of a picture is in memory at once, for however long its reader takes."""
_PRESIGNED_S = 3600
"""How long a bucket's own URL lives: as long as the slowest client takes to follow, not as long as the picture."""
_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}
_IMAGE: dict[str, Json] = {media_type: {} for media_type in EXTENSIONS}
ANSWERS = {
    200: Answer("The picture", content=_IMAGE),
    206: Answer("The part that `Range` asks for", content=_IMAGE),
    302: Answer("Where the bucket has it, where `image_delivery` is `redirect`"),
    304: Answer("The picture of `If-None-Match`"),
    404: Answer("1203 the image does not exist or has expired", ErrorOut),
    416: Answer("There is no such part"),
    500: ERRORS[500],
    503: ERRORS[503],
}
SIGNATURE = (Parameter("query", "expires", default=""), Parameter("query", "signature", default=""))


async def get_image(context: ApiContext, request: Request) -> Response:
    """An image or a part of it, or a redirect to the bucket if the storage is one and the settings say so."""
    key = request.scope["path"][1:]
    found = _KEY.fullmatch(key)
    expires, signature = (request.query_params.get(parameter.name, "") for parameter in SIGNATURE)
    left_s = context.links.check(key, expires, signature, now=time.time()) if found else 0
    total = await context.storage.size(key) if left_s else None
    if total is None or found is None:
        raise _gone()
    # the console's pages may show nothing of other hosts
    if context.redirect_images and found[1] and request.headers.get("sec-fetch-site") != "same-origin":
        life_s = min(left_s, _PRESIGNED_S)
        if url := await context.storage.presign(key, request.method, life_s=life_s):
            return _redirect(request, url, max_age_s=life_s // 2)
    etag = f'"{hashlib.sha256(key.encode()).hexdigest()[:24]}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={min(left_s, 31_536_000)}, immutable",
        "Content-Disposition": f'inline; filename="{key.rsplit("/", 1)[-1]}"',
        "Content-Type": await _media_type(context.storage, key, found[1]),
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id_of(request),
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    part = _part(request.headers, total, etag)
    if part is None:
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{total}"})
    if part.partial:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{total}"
    return await _part_response(context.storage, key, part, headers, head=request.method == "HEAD")


def _redirect(request: Request, url: str, *, max_age_s: int) -> Response:
    headers = {
        "Cache-Control": f"private, max-age={max_age_s}",
        "Location": url,
        "Vary": "Sec-Fetch-Site",
        "X-Request-Id": request_id_of(request),
    }
    return Response(status_code=302, headers=headers)


async def _part_response(storage: Storage, key: str, part: "_Part", headers: dict[str, str], *, head: bool) -> Response:
    status, size = 206 if part.partial else 200, part.end - part.start
    headers = headers | {"Content-Length": str(size)}
    if head:
        return Response(status_code=status, headers=headers)
    if size > _PIECE_BYTES:
        return StreamingResponse(_pieces(storage, key, part), status_code=status, headers=headers)
    try:
        content = await storage.get_range(key, part.start, part.end) if size else b""
    except FileNotFoundError:
        raise _gone() from None
    return Response(content, status_code=status, headers=headers)


def _gone() -> Refused:
    return Refused(1203, "the image does not exist or has expired")


async def _media_type(storage: Storage, key: str, extension: str | None) -> str:
    """By its extension; without one it is as its caller sent it, and was found to be one of two kinds."""
    if extension:
        return _MEDIA_TYPES[extension]
    try:
        return "image/png" if await storage.get_range(key, 0, 1) == b"\x89" else "image/jpeg"
    except FileNotFoundError:
        raise _gone() from None


class _Part(NamedTuple):
    start: int
    end: int
    partial: bool


async def _pieces(storage: Storage, key: str, part: _Part) -> AsyncIterator[bytes]:
    """One after the other, as the client takes them."""
    for start in range(part.start, part.end, _PIECE_BYTES):
        yield await storage.get_range(key, start, min(start + _PIECE_BYTES, part.end))


def _part(headers: Headers, total: int, etag: str) -> _Part | None:
    """Which bytes are asked for (RFC 9110); None for a range that cannot be met. Several ranges get the whole file."""
    whole = _Part(0, total, partial=False)
    found = re.fullmatch(r"(?i:bytes)=(\d{0,99})-(\d{0,99})", headers.get("range", "").replace(" ", ""))
    if not found or headers.get("if-range", etag) != etag or not (found[1] or found[2]):
        return whole
    first, last = found[1], found[2]
    if not first:
        count = min(int(last), total)
        return _Part(total - count, total, partial=True) if count else None
    start, end = int(first), min(int(last) + 1, total) if last else total
    if last and int(last) < start:
        return whole
    return _Part(start, end, partial=True) if start < total else None
