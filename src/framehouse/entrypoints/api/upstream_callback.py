"""The endpoint for upstream callbacks. A request wakes the worker that waits for the upstream.

The body of the request is not read.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from framehouse.adapters.postgres.channels import WAKE_CHANNEL, notify
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import request_id_of


async def wake_batch(context: ApiContext, request: Request) -> Response:
    batch, signature = request.path_params["batch"], request.path_params["signature"]
    if not context.links.check_upstream_callback_signature(batch, signature):
        raise Refused(1202, "no such path")
    await notify(context.db, WAKE_CHANNEL, batch)
    return JSONResponse({"status": "ok"}, headers={"X-Request-Id": request_id_of(request)})
