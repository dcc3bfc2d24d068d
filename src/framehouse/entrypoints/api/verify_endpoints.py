"""The endpoint that says whether an image was made here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.fetch import FetchFailed
from framehouse.adapters.images.base64 import NotBase64, decode_base64
from framehouse.adapters.reference_files.header import BadImage
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.reference import MAX_REFERENCE_BYTES, Content, LongString, is_url
from framehouse.domain.verification import MAX_VERIFIED_BYTES, for_account
from framehouse.domain.verification_json import verification_data
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.multipart import FORM, NotAForm, is_form, read_form
from framehouse.entrypoints.api.request_headers import find_header

FIELD = "image"
_MAX_FORM_BYTES = MAX_VERIFIED_BYTES + 65_536


async def verify_image(context: ApiContext, request: Request) -> Response:
    """Verify the image of a form, or the image of a JSON body: a URL, a data URL or base64."""
    caller = await context.caller(request)
    verifier = context.verifier
    async with verifier.admitted(caller):
        content_type = find_header(request.scope, b"content-type") or ""
        read = partial(_file_of_form, content_type=content_type) if is_form(content_type) else _image_of_json
        async with read(context, request, caller) as content:
            try:
                found = await verifier.verify(content, caller)
            except BadImage as error:
                raise Refused(1201, f"{FIELD} {error}") from error
    return success(request, verification_data(for_account(found, caller.account_id)), {"Cache-Control": "no-store"})


@asynccontextmanager
async def _file_of_form(
    context: ApiContext, request: Request, caller: Caller, *, content_type: str
) -> AsyncIterator[bytes]:
    """Read the file of a form, and wait for the turn of the account. Raises Refused."""
    body = context.bodies.read_file(request, account_id=caller.account_id, max_bytes=_MAX_FORM_BYTES)
    async with body as form, context.verifier.turn(caller):
        try:
            content = await asyncio.to_thread(_image_of_form, content_type, form)
        except NotAForm as error:
            raise Refused(1200, str(error)) from error
        yield content


def _image_of_form(content_type: str, form: Content) -> bytes:
    """Return the first file of a form that has the name FIELD. This function blocks. Raises NotAForm."""
    for name, value in read_form(content_type, form.open):
        if name == FIELD and isinstance(value, Content):
            with value.open() as file:
                return file.read()
    raise NotAForm(f"the form has no file with the name {FIELD}")


@asynccontextmanager
async def _image_of_json(context: ApiContext, request: Request, caller: Caller) -> AsyncIterator[bytes]:
    """Read or fetch the image of a JSON body, and wait for the turn of the account. Raises Refused."""
    async with context.body(request, caller) as (body, _):
        image = body.get(FIELD) if isinstance(body, dict) else None
        if not isinstance(image, str | LongString) or not image:
            raise Refused(1201, f"{FIELD} is required: a URL, or the content of an image file in base64")
        if isinstance(image, str) and is_url(image):
            try:
                async with context.verifier.fetched(image, caller) as content, context.verifier.turn(caller):
                    yield content
            except FetchFailed as error:
                raise Refused(1201, f"{FIELD} {error.message}") from error
            return
        async with context.verifier.turn(caller):
            try:
                content = await asyncio.to_thread(_decoded, image)
            except NotBase64 as error:
                raise Refused(1201, f"{FIELD} {error}") from error
            yield content


def _decoded(image: str | LongString) -> bytes:
    """Return the content of an image in a JSON body. Raises NotBase64."""
    if isinstance(image, str):
        return decode_base64(image)
    if image.content is None:
        raise NotBase64(image.problem)
    if image.content.size > MAX_REFERENCE_BYTES:
        raise NotBase64(f"has more than {MAX_REFERENCE_BYTES:,} bytes; send larger files as {FORM}")
    with image.content.open() as file:
        return file.read()
