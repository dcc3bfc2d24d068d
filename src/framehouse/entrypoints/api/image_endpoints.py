"""Pictures by their signed URLs, whole or in part."""

import hashlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers
from starlette.responses import StreamingResponse

from framehouse.adapters.images.encode import EXTENSIONS
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Refused
from framehouse.domain.links import Links
from framehouse.entrypoints.api.envelope import request_id_of
from framehouse.entrypoints.api.kling.schemas import ERRORS, ErrorOut

_KEY = re.compile(
    r"images/[0-9a-f-]{36}/[0-9a-f-]+(?:-marked)?\.(png|jpg|webp)|references/[0-9a-f]{64}(?:-[0-9a-f]{8})?"
)
_PIECE_BYTES = 1024 * 1024
"""What of a picture is in memory at once, for however long its reader takes."""
_PRESIGNED_S = 3600
"""How long a bucket's own URL lives: as long as the slowest client takes to follow, not as long as the picture."""
_PICTURE: dict[str, Any] = {"content": {media_type: {} for media_type in EXTENSIONS}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture"} | _PICTURE,
    206: {"description": "The part that `Range` asks for"} | _PICTURE,
    302: {"description": "Where the bucket has it, where `image_delivery` is `redirect`"},
    304: {"description": "The picture of `If-None-Match`"},
    404: {"model": ErrorOut, "description": "1203 the image does not exist or has expired"},
    416: {"description": "There is no such part"},
    500: ERRORS[500],
    503: ERRORS[503],
}
_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}

_GONE = Refused(1203, "the image does not exist or has expired")


def image_routes(*, storage: Storage, links: Links, redirect: bool = False) -> APIRouter:
    """`redirect` sends those who ask for a finished picture to the bucket, where the storage is one."""
    router = APIRouter(tags=["images"])

    @router.api_route("/references/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    @router.head("/images/{path:path}", include_in_schema=False)
    @router.get(
        "/images/{path:path}",
        summary="A picture, by the signed URL that its task or element names",
        response_class=Response,
        responses=_ANSWERS,
        operation_id="get_image",
    )
    async def image(request: Request, path: str, expires: str = "", signature: str = "") -> Response:
        key = request.scope["path"][1:]
        found = _KEY.fullmatch(key)
        left_s = links.check(key, expires, signature, now=time.time()) if found else 0
        total = await storage.size(key) if left_s else None
        if total is None or found is None:
            raise _GONE
        # the console's pages may show nothing of other hosts
        if redirect and found[1] and request.headers.get("sec-fetch-site") != "same-origin":
            life_s = min(left_s, _PRESIGNED_S)
            if url := await storage.presign(key, request.method, life_s=life_s):
                headers = {
                    "Cache-Control": f"private, max-age={life_s // 2}",
                    "Location": url,
                    "Vary": "Sec-Fetch-Site",
                    "X-Request-Id": request_id_of(request),
                }
                return Response(status_code=302, headers=headers)
        etag = f'"{hashlib.sha256(key.encode()).hexdigest()[:24]}"'
        headers = {
            "Accept-Ranges": "bytes",
            "Cache-Control": f"private, max-age={min(left_s, 31_536_000)}, immutable",
            "Content-Disposition": f'inline; filename="{path.rsplit("/", 1)[-1]}"',
            "Content-Type": await _media_type(storage, key, found[1]),
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
        status, size = 206 if part.partial else 200, part.end - part.start
        headers["Content-Length"] = str(size)
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        if size > _PIECE_BYTES:
            return StreamingResponse(_pieces(storage, key, part), status_code=status, headers=headers)
        try:
            content = await storage.get_range(key, part.start, part.end) if size else b""
        except FileNotFoundError:
            raise _GONE from None
        return Response(content, status_code=status, headers=headers)

    return router


async def _media_type(storage: Storage, key: str, extension: str | None) -> str:
    """By its extension; without one it is as its caller sent it, and was found to be one of two kinds."""
    if extension:
        return _MEDIA_TYPES[extension]
    try:
        return "image/png" if await storage.get_range(key, 0, 1) == b"\x89" else "image/jpeg"
    except FileNotFoundError:
        raise _GONE from None


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
