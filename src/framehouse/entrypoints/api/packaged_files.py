"""Files of the package that are served from memory: the console, Swagger UI and the preset images."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from framehouse.entrypoints.api.envelope import request_id_of

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_PIECE_BYTES = 64 * 1024


class PackagedFile:
    """A file of the package. Its content is read once, and no response holds an open file.

    If responses held open files, clients that do not read their responses could use up all file descriptors of the
    process.
    """

    def __init__(self, file: Traversable, headers: Mapping[str, str]) -> None:
        self._file = file
        self._fixed_headers = headers

    @cached_property
    def _content(self) -> bytes:
        return self._file.read_bytes()

    @cached_property
    def _headers(self) -> dict[str, str]:
        ending = self._file.name.rpartition(".")[2]
        type = _TYPES.get(ending, "text/plain; charset=utf-8")
        etag = f'"{hashlib.sha256(self._content).hexdigest()[:24]}"'
        # browsers use the ETag to revalidate each file, so they never mix files from different versions
        return {"Cache-Control": "no-cache", "Content-Type": type, "ETag": etag, **self._fixed_headers}

    def respond(self, request: Request) -> Response:
        headers = self._headers | {"X-Request-Id": request_id_of(request)}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return _PieceResponse(self._content, headers=headers)


class _PieceResponse(Response):
    """A response that is sent in pieces. A piece is sent only after the client has read most of the earlier pieces.

    If a response were sent in one piece, the process would keep a copy of the entire file in memory for each client
    that does not read its response.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        content = memoryview(self.body)
        for start in range(0, len(content), _PIECE_BYTES):
            piece = bytes(content[start : start + _PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def list_files(folder: Traversable, path: str) -> dict[str, Traversable]:
    """Return the files in a folder and its subfolders by their URL path. `path` is the URL path of the folder."""
    by_path: dict[str, Traversable] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        by_path |= list_files(entry, f"{path}{entry.name}/") if entry.is_dir() else {path + entry.name: entry}
    return by_path
