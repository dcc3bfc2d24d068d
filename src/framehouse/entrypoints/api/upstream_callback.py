"""Where an upstream says that something happened: whoever waits for it looks sooner. What it says is not read."""

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from framehouse.adapters.postgres.channels import HASTEN_CHANNEL, notify
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.errors import Refused
from framehouse.domain.links import Links
from framehouse.entrypoints.api.envelope import request_id_of


def hasten_routes(*, db: Database, links: Links) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.post("/hasten/{batch}/{signature}")
    async def hasten(request: Request, batch: str, signature: str) -> Response:
        if not links.check_hasten(batch, signature):
            raise Refused(1202, "there is no such path")
        await notify(db, HASTEN_CHANNEL, batch)
        return JSONResponse({"status": "ok"}, headers={"X-Request-Id": request_id_of(request)})

    return router
