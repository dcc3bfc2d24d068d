"""Whether the process lives, and whether it can do its work."""

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.entrypoints.api.answers import request_id_of


def health_routes(*, db: Database, storage: Storage) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process lives")
    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers={"X-Request-Id": request_id_of(request)})

    @router.get("/readyz", summary="Database and storage answer", responses={503: {"description": "One does not"}})
    async def readyz(request: Request) -> Response:
        checks = {"database": "ok", "storage": "ok"}
        try:
            await db.value("select 1")
        except DatabaseAway:
            checks["database"] = "away"
        try:
            await storage.size("images/ready")
        except StorageAway:
            checks["storage"] = "away"
        ready = set(checks.values()) == {"ok"}
        return JSONResponse(
            {"status": "ok" if ready else "not ready", "checks": checks},
            status_code=200 if ready else 503,
            headers={"X-Request-Id": request_id_of(request)},
        )

    return router
