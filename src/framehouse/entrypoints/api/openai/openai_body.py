"""Read the fields of a request of OpenAI's image API: a JSON object, or a form with files."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request

from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.reference import Content, LongString
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.multipart import NotAForm, is_form, read_form
from framehouse.entrypoints.api.request_headers import find_header


@asynccontextmanager
async def read_fields(context: ApiContext, request: Request, caller: Caller) -> AsyncIterator[Any]:
    """Read the body. Yields the JSON value, or the fields of a form as an object.

    The temporary file with the images exists until the `async with` block ends. Raises Refused (1200, 1201).
    """
    content_type = find_header(request.scope, b"content-type") or ""
    if not is_form(content_type):
        async with context.body(request, caller) as (body, _):
            yield body
        return
    async with context.bodies.read_file(request, account_id=caller.account_id) as file:
        try:
            fields = await asyncio.to_thread(read_form, content_type, file.open)
        except NotAForm as error:
            raise Refused(1200, str(error)) from error
        yield object_of(fields)


def object_of(fields: Iterable[tuple[str, str | Content]]) -> dict[str, Any]:
    """Return the fields of a form as an object. The values of a repeated field, or of a field such as `image[]`, are a
    list."""
    result: dict[str, Any] = {}
    for name, value in fields:
        # a file is passed on as if it had been sent as a long base64 string
        sent = value if isinstance(value, str) else LongString("", value.size, value)
        key = name.removesuffix("[]")
        if key not in result:
            result[key] = [sent] if key != name else sent
        elif isinstance(result[key], list):
            result[key].append(sent)
        else:
            result[key] = [result[key], sent]
    return result
