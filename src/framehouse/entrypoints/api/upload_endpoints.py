"""The endpoints for uploading an image, so that a later request can use the image as a reference.

The API nodes of ComfyUI use these endpoints.
"""

import re
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from framehouse.adapters.postgres import upload_store
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.field_reader import FieldReader
from framehouse.domain.reference import MAX_REFERENCE_BYTES
from framehouse.domain.task_json import milliseconds
from framehouse.domain.upload import DOWNLOAD_VALID_S, UPLOAD_VALID_S, download_key, upload_key
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import request_id_of, success
from framehouse.entrypoints.api.image_endpoints import SIGNATURE
from framehouse.pipeline.uploads import save_upload

_PUT_PATH = re.compile(r"/uploads/put/([0-9]{1,19})/([0-9a-f-]{36})")
_GET_PATH = re.compile(r"/uploads/([0-9]{1,19})/([0-9a-f-]{36})")


async def create_upload(context: ApiContext, request: Request) -> Response:
    """Return the URL to which the client sends the file, and the URL that the client uses as a reference."""
    urls, expires_at = await _create(context, request)
    return success(request, urls | {"expires_at": milliseconds(expires_at)})


async def create_comfyui_upload(context: ApiContext, request: Request) -> Response:
    """Return the same two URLs as `create_upload`, but without the envelope of the Kling API. The API nodes of ComfyUI
    expect this format."""
    urls, _ = await _create(context, request)
    return JSONResponse(urls, headers={"X-Request-Id": request_id_of(request)})


async def _create(context: ApiContext, request: Request) -> tuple[dict[str, str], datetime]:
    caller = await context.caller(request)
    async with context.body(request, caller) as (body, _):
        reader = FieldReader(body if isinstance(body, dict) else {})
        # the next two fields are checked but not used: the content of the file determines its type
        reader.text("file_name", max_characters=1000)
        reader.text("content_type", max_characters=200)
        if not isinstance(body, dict):
            raise Refused(1201, "the body must be a JSON object")
        if reader.problems:
            raise refused_fields(reader.problems)
    id, now, links = uuid4(), datetime.now(UTC), context.links_for(request)
    expires_at = now + timedelta(seconds=UPLOAD_VALID_S)
    return {
        "upload_url": links.image_url(upload_key(caller.account_id, id), expires_at),
        "download_url": links.image_url(download_key(caller.account_id, id), now + timedelta(seconds=DOWNLOAD_VALID_S)),
    }, expires_at


async def put_upload(context: ApiContext, request: Request) -> Response:
    """Save the file of an upload. The signature of the URL replaces the API key."""
    account_id, id = _signed(context, request, _PUT_PATH)
    async with context.bodies.read_file(request, account_id=account_id, max_bytes=MAX_REFERENCE_BYTES) as content:
        await save_upload(content, id=id, account_id=account_id, db=context.db, storage=context.storage)
    return success(request, {})


async def get_upload(context: ApiContext, request: Request) -> Response:
    """Redirect to the URL of the stored file."""
    _, id = _signed(context, request, _GET_PATH)
    key = await upload_store.find_upload_key(context.db, id)
    if key is None:
        raise _gone()
    url = context.links.with_base("").image_url(key, datetime.now(UTC) + timedelta(hours=1))
    return RedirectResponse(url, headers={"X-Request-Id": request_id_of(request), "Cache-Control": "no-store"})


def _signed(context: ApiContext, request: Request, path: re.Pattern[str]) -> tuple[int, UUID]:
    """Return the account id and the upload id that a signed URL contains.

    Raises Refused (1203) if the URL has expired or its signature is wrong.
    """
    match = path.fullmatch(request.scope["path"])
    expires, signature = (request.query_params.get(parameter.name, "") for parameter in SIGNATURE)
    if match is None or not context.links.check(request.scope["path"][1:], expires, signature, now=time.time()):
        raise _gone()
    return int(match[1]), UUID(match[2])


def _gone() -> Refused:
    return Refused(1203, "the upload does not exist, or its URL has expired")
