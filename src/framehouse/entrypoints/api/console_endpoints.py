"""The files and the configuration of the console, and the sign-in with the link that `framehouse serve` prints."""

import ipaddress
import re
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from framehouse import __version__
from framehouse.adapters.postgres.sign_in_codes import exchange_code
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import request_id_of, success
from framehouse.entrypoints.api.packaged_files import PackagedFile, list_files

_HEADERS = {
    "Cache-Control": "no-cache",  # browsers revalidate each file by its ETag, so they never mix files of two versions
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_MAX_CODE_CHARACTERS = 100
_LOCAL_HOST = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


async def page(_context: ApiContext, request: Request) -> Response:
    return _PAGES[request.scope["path"]].respond(request)


async def configuration(context: ApiContext, request: Request) -> Response:
    """Return the configuration of the console. `prefix` is the path prefix that the console uses for the API.

    The `kinds` of a model are the kinds of tasks that it offers. If none of its engines can expand images, `kinds` does
    not contain `expand`.
    """
    config = {
        "version": __version__,
        "prefix": context.prefix,
        "models": [
            {
                "name": model.name,
                "kinds": [kind for kind in model.kinds if kind != "expand" or model.expansions],
                "resolutions": list(model.resolutions),
                "series": model.series,
                "units": dict(model.units),
                "preview": context.registry.routes(model.name)[0].name == "previz",
            }
            for model in context.registry.models
        ],
    }
    return JSONResponse(config, headers=_HEADERS | {"X-Request-Id": request_id_of(request)})


async def sign_in(context: ApiContext, request: Request) -> Response:
    if not _is_local(request):
        raise Refused(1002, "this link works only on the machine that the server runs on; paste a key instead")
    async with context.body(request, None) as (body, _):
        code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE_CHARACTERS or not code.isascii():
        raise Refused(1201, "code is required")
    created = await exchange_code(context.db, code)
    if created is None:
        raise Refused(1002, "this link has been used or has expired; paste a key instead")
    return success(request, {"key": created[0], "account": created[1]}, {"Cache-Control": "no-store"})


_FILES = list_files(files("framehouse") / "entrypoints" / "console", "/console/")
_FILES["/"] = _FILES.pop("/console/index.html")
_PAGES = {path: PackagedFile(file, _HEADERS) for path, file in _FILES.items()}
PAGE_PATHS = tuple(_PAGES)


def _is_local(request: Request) -> bool:
    """Return whether the request comes directly from a browser on this machine.

    The peer must have a loopback address. The Host header must contain `localhost` or a loopback address, to prevent
    DNS rebinding attacks. The request must not contain any of the headers that proxies add.
    """
    peer = request.client.host if request.client else ""
    direct = not any(name in request.headers for name in _FORWARDED)
    return direct and bool(_LOCAL_HOST.fullmatch(request.headers.get("host", ""))) and _is_loopback(peer)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
