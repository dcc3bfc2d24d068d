"""The endpoint that sends a test callback."""

from starlette.requests import Request
from starlette.responses import Response

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.field_reader import FieldReader
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success


async def send_test_callback(context: ApiContext, request: Request) -> Response:
    """Send a test callback to the `callback_url` of the body, and respond with the result of the delivery."""
    caller = await context.caller(request)
    async with context.body(request, caller) as (body, _):
        if not isinstance(body, dict):
            raise Refused(1201, "the body must be a JSON object")
        reader = FieldReader(body)
        url = reader.url("callback_url")
        if not url and not reader.problems:
            reader.add_problem("callback_url", "is required")
        if reader.problems:
            raise refused_fields(reader.problems)
    return success(request, await context.callback_tester.send(url, caller))
