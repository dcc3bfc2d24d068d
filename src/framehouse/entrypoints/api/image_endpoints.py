"""Serves images and byte ranges of images at signed URLs."""

import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from framehouse.adapters.images.encode import EXTENSIONS
from framehouse.adapters.reference_files.file_types import HEAD_BYTES, image_type
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.documentation import Json, Parameter, ResponseDoc
from framehouse.entrypoints.api.envelope import request_id_of
from framehouse.entrypoints.api.kling.responses import ERRORS, error_doc

_KEY = re.compile(
    r"images/[0-9a-f-]{36}/[0-9a-f-]+(?:-marked|-preview)?\.(png|jpg|webp)|references/[0-9a-f]{64}(?:-[0-9a-f]{8})?"
)
_CHUNK_BYTES = 1024 * 1024
"""The maximum number of image bytes that a response keeps in memory, even if the client reads slowly."""
_PRESIGNED_S = 3600
"""The longest lifetime of a presigned URL, in seconds. Even a slow client follows the redirect within this time."""
_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}
_BYTES: Json = {"schema": {"type": "string", "format": "binary"}}
# many code generators do not support media types such as image/png, but all of them support application/octet-stream
_IMAGE = dict.fromkeys((*EXTENSIONS, "application/octet-stream"), _BYTES)
_REFERENCE = dict.fromkeys((*EXTENSIONS, "image/avif", "application/octet-stream"), _BYTES)
_GONE = error_doc(
    "ImageGone",
    "1203 the image does not exist or has expired, or the signature of the URL is wrong",
    image=(1203, "the image does not exist or has expired"),
)


def _responses(content: Mapping[str, Json]) -> dict[int, ResponseDoc]:
    return {
        200: ResponseDoc("The image. Clients need not support `application/octet-stream`", content=content),
        206: ResponseDoc("The part of the image that the `Range` header requests", content=content),
        304: ResponseDoc("The ETag of the image matches the `If-None-Match` header"),
        404: _GONE,
        416: ResponseDoc("The image does not contain the range that the `Range` header requests"),
        500: ERRORS[500],
        503: ERRORS[503],
    }


RESPONSES = _responses(_IMAGE) | {302: ResponseDoc("A redirect to the bucket, if `image_delivery` is `redirect`")}
REFERENCE_RESPONSES = _responses(_REFERENCE)
PATH = Parameter("path", "path", "The path of a URL that a response contains")
SIGNATURE = (
    Parameter("query", "expires", "The end of the URL's validity, as a Unix time in seconds", required=True),
    Parameter("query", "signature", "The signature of the URL", required=True),
)


async def get_image(context: ApiContext, request: Request) -> Response:
    """Respond with an image, a part of the image, or a redirect to the image in the bucket.

    The response is a redirect if the setting `image_delivery` is `redirect` and the storage can presign URLs. A request
    for a reference is never redirected, and neither is a request from a page of this server. Raises Refused (1203) if
    the image does not exist, the URL has expired, or the signature is wrong.
    """
    key = request.scope["path"][1:]
    match = _KEY.fullmatch(key)
    expires, signature = (request.query_params.get(parameter.name, "") for parameter in SIGNATURE)
    left_s = context.links.check(key, expires, signature, now=time.time()) if match else 0
    total = await context.storage.size(key) if left_s else None
    if total is None or match is None:
        raise _gone()
    # The console's content security policy forbids images from other hosts, so requests from the console are not
    # redirected.
    if context.redirect_images and match[1] and request.headers.get("sec-fetch-site") != "same-origin":
        valid_s = min(left_s, _PRESIGNED_S)
        if url := await context.storage.presign(key, request.method, valid_s=valid_s):
            return _redirect(request, url, max_age_s=valid_s // 2)
    etag = f'"{hashlib.sha256(key.encode()).hexdigest()[:24]}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={min(left_s, 31_536_000)}, immutable",
        "Content-Disposition": f'inline; filename="{key.rsplit("/", 1)[-1]}"',
        "Content-Type": await _media_type(context.storage, key, match[1]),
        "ETag": etag,
        "X-Content-Type-Options": "nosniff",
        "X-Request-Id": request_id_of(request),
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    part = _requested_range(request.headers, total, etag)
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


async def _part_response(
    storage: Storage, key: str, part: "_ByteRange", headers: dict[str, str], *, head: bool
) -> Response:
    status, size = 206 if part.partial else 200, part.end - part.start
    headers = headers | {"Content-Length": str(size)}
    if head:
        return Response(status_code=status, headers=headers)
    if size > _CHUNK_BYTES:
        return StreamingResponse(_chunks(storage, key, part), status_code=status, headers=headers)
    try:
        content = await storage.get_range(key, part.start, part.end) if size else b""
    except FileNotFoundError:
        raise _gone() from None
    return Response(content, status_code=status, headers=headers)


def _gone() -> Refused:
    return Refused(1203, "the image does not exist or has expired")


async def _media_type(storage: Storage, key: str, extension: str | None) -> str:
    """Return the media type of an image. The extension of the image's key determines the media type.

    The key of a reference has no extension, so the first bytes of the file are read. Raises Refused (1203) if the
    reference does not exist.
    """
    if extension:
        return _MEDIA_TYPES[extension]
    try:
        type_ = image_type(await storage.get_range(key, 0, HEAD_BYTES))
    except FileNotFoundError:
        raise _gone() from None
    return "image/jpeg" if type_ in ("jpg", None) else f"image/{type_}"


class _ByteRange(NamedTuple):
    start: int
    end: int
    partial: bool


async def _chunks(storage: Storage, key: str, part: _ByteRange) -> AsyncIterator[bytes]:
    """Yield the chunks of a part of an image. Each chunk is read only after the previous chunk has been sent."""
    for start in range(part.start, part.end, _CHUNK_BYTES):
        yield await storage.get_range(key, start, min(start + _CHUNK_BYTES, part.end))


def _requested_range(headers: Headers, total: int, etag: str) -> _ByteRange | None:
    """Return the byte range that the Range header requests (RFC 9110). Returns None if the range is not satisfiable.

    Returns the range of the entire image if the Range header is missing or invalid, or requests several ranges. Also
    returns this range if the If-Range header does not match the ETag.
    """
    whole = _ByteRange(0, total, partial=False)
    match = re.fullmatch(r"(?i:bytes)=(\d{0,99})-(\d{0,99})", headers.get("range", "").replace(" ", ""))
    if not match or headers.get("if-range", etag) != etag or not (match[1] or match[2]):
        return whole
    first, last = match[1], match[2]
    if not first:
        count = min(int(last), total)
        return _ByteRange(total - count, total, partial=True) if count else None
    start, end = int(first), min(int(last) + 1, total) if last else total
    if last and int(last) < start:
        return whole
    return _ByteRange(start, end, partial=True) if start < total else None
