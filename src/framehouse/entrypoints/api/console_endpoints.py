"""The console's files, what they must know of this server, and signing in by the link of the first start."""

import hashlib
import ipaddress
import re
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from framehouse import __version__
from framehouse.adapters.postgres.sign_in_codes import exchange_code
from framehouse.domain.errors import Refused
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.envelope import request_id_of, success
from framehouse.entrypoints.api.request_context import RequestContext

_FILES = files("framehouse") / "entrypoints" / "console"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for again by its ETag: files of two versions never meet
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MAX_CODE_CHARACTERS = 100
_LOCAL_HOST = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def console_routes(door: RequestContext, *, registry: Registry, prefix: str) -> APIRouter:
    """The page at `/` and its files under `/console`. `prefix` is where the page finds the API."""
    router = APIRouter(include_in_schema=False)
    pages = {f"/console/{name}": _Page(file) for name, file in _files(_FILES)}
    pages["/"] = pages.pop("/console/index.html")
    config = {
        "version": __version__,
        "prefix": prefix,
        "models": [
            {
                "name": model.name,
                "resolutions": list(model.resolutions),
                "series": model.series,
                "units": dict(model.units),
                "preview": registry.routes(model.name)[0].name == "previz",
            }
            for model in registry.models
        ],
    }

    async def page(request: Request) -> Response:
        return pages[request.scope["route"].path].answer(request)

    for path in pages:
        router.add_api_route(path, page, methods=["GET", "HEAD"])

    @router.get("/console/config.json")
    async def configuration(request: Request) -> Response:
        return JSONResponse(config, headers=_HEADERS | {"X-Request-Id": request_id_of(request)})

    @router.post("/console/sign-in")
    async def sign_in(request: Request) -> Response:
        if not _is_local(request):
            raise Refused(1002, "this link works only on the machine that the server runs on; paste a key instead")
        async with door.body(request, None) as (body, _):
            code = body.get("code") if isinstance(body, dict) else None
        if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE_CHARACTERS or not code.isascii():
            raise Refused(1201, "code is required")
        made = await exchange_code(door.db, code)
        if made is None:
            raise Refused(1002, "this link was used before or is too old; paste a key instead")
        return success(request, {"key": made[0], "account": made[1]}, {"Cache-Control": "no-store"})

    return router


class _Page:
    """A file of the console, read once."""

    def __init__(self, file: Traversable) -> None:
        self._content = file.read_bytes()
        etag = f'"{hashlib.sha256(self._content).hexdigest()[:24]}"'
        self._headers = _HEADERS | {"Content-Type": _TYPES[file.name.rpartition(".")[2]], "ETag": etag}

    def answer(self, request: Request) -> Response:
        headers = self._headers | {"X-Request-Id": request_id_of(request)}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers)


def _files(folder: Traversable, path: str = "") -> list[tuple[str, Traversable]]:
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        found += _files(entry, f"{path}{entry.name}/") if entry.is_dir() else [(path + entry.name, entry)]
    return found


def _is_local(request: Request) -> bool:
    """Whether a browser on this machine asks us directly: by a loopback peer, under a loopback name (so no page of a
    rebound name does), and through no proxy that says it is one."""
    peer = request.client.host if request.client else ""
    direct = not any(name in request.headers for name in _FORWARDED)
    return direct and bool(_LOCAL_HOST.fullmatch(request.headers.get("host", ""))) and _is_loopback(peer)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
