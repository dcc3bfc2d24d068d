"""Serves the OpenAPI document, Swagger UI and the preset images. Swagger UI and the images are part of the package."""

import posixpath
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from framehouse.adapters.presets import PRESETS
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.error_responses import no_such_path

_SWAGGER_UI = files("framehouse") / "assets" / "swagger-ui"
_CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_DOCS_FILES, _PRESET_FILES = StaticFiles(directory=str(_SWAGGER_UI)), StaticFiles(directory=str(PRESETS))


async def docs(_context: ApiContext, request: Request) -> Response:
    response = await _file(_DOCS_FILES, "index.html", request)
    response.headers["Content-Security-Policy"] = _CSP
    return response


async def docs_file(_context: ApiContext, request: Request) -> Response:
    return await _file(_DOCS_FILES, request.path_params["path"], request)


async def preset_file(_context: ApiContext, request: Request) -> Response:
    return await _file(_PRESET_FILES, request.path_params["path"], request)


async def openapi(context: ApiContext, _request: Request) -> Response:
    return Response(context.openapi(), media_type="application/json")


async def _file(folder: StaticFiles, path: str, request: Request) -> Response:
    """Return a response with a file from a folder.

    A double slash is treated as a single slash, because clients may append a path to a base URL that ends with a slash.
    Raises Refused (1202) if there is no such file.
    """
    try:
        return await folder.get_response(posixpath.normpath(path.lstrip("/")), request.scope)
    except HTTPException:
        raise no_such_path(request) from None
