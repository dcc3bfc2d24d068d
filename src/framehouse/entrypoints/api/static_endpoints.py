"""Serves the OpenAPI document, Swagger UI and the preset images. Swagger UI and the images come with Framehouse."""

import posixpath
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.presets import PRESETS
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.error_responses import no_such_path
from framehouse.entrypoints.api.packaged_files import PackagedFile, list_files

_CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_DOCS = {
    path: PackagedFile(file, {"Content-Security-Policy": _CSP} if path == "index.html" else {})
    for path, file in list_files(files("framehouse") / "assets" / "swagger-ui", "").items()
}
_PRESETS = {path: PackagedFile(file, {}) for path, file in list_files(PRESETS, "").items()}


async def docs(_context: ApiContext, request: Request) -> Response:
    return _DOCS["index.html"].respond(request)


async def docs_file(_context: ApiContext, request: Request) -> Response:
    return _respond(_DOCS, request)


async def preset_file(_context: ApiContext, request: Request) -> Response:
    return _respond(_PRESETS, request)


async def openapi(context: ApiContext, _request: Request) -> Response:
    return Response(context.openapi(), media_type="application/json")


def _respond(served: dict[str, PackagedFile], request: Request) -> Response:
    """Return a response with a file.

    A double slash is treated as a single slash, because clients may append a path to a base URL that ends with a slash.
    Raises Refused (1202) if there is no such file.
    """
    file = served.get(posixpath.normpath(request.path_params["path"].lstrip("/")))
    if file is None:
        raise no_such_path(request)
    return file.respond(request)
