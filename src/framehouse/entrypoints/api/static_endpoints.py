"""Swagger UI from the package, so that it works offline, the OpenAPI document, and the images of the presets."""

from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from framehouse.adapters.presets import PRESETS
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.error_responses import no_such_path

_SWAGGER_UI = files("framehouse") / "assets" / "swagger-ui"
_CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_DOCS_FILES, _PRESET_FILES = StaticFiles(directory=str(_SWAGGER_UI)), StaticFiles(directory=str(PRESETS))


async def docs(_context: ApiContext, _request: Request) -> Response:
    return FileResponse(str(_SWAGGER_UI / "index.html"), headers={"Content-Security-Policy": _CSP})


async def docs_file(_context: ApiContext, request: Request) -> Response:
    return await _file(_DOCS_FILES, request)


async def preset_file(_context: ApiContext, request: Request) -> Response:
    return await _file(_PRESET_FILES, request)


async def openapi(context: ApiContext, _request: Request) -> Response:
    return Response(context.openapi(), media_type="application/json")


async def _file(folder: StaticFiles, request: Request) -> Response:
    try:
        return await folder.get_response(request.path_params["path"], request.scope)
    except HTTPException:
        raise no_such_path(request) from None
