"""The HTTP client of a route. It builds the requests and sends each of them once."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from framehouse.engines.http_exchange import Reply, open_client, send_request
from framehouse.engines.image_files import MAX_ANSWER_BYTES
from framehouse.engines.openai_images.compatible_requests import compatible_body, compatible_fields, form_value
from framehouse.engines.openai_images.openai_images_options import OpenAIImagesOptions
from framehouse.engines.openai_images.server_kinds import ServerRequest, request_fields

if TYPE_CHECKING:
    import httpx

_HEALTH_TIMEOUT_S = 10.0
_MAX_HEALTH_BYTES = 4_000_000


class ServerClient:
    """The client for all replicas of a route."""

    def __init__(self, options: OpenAIImagesOptions) -> None:
        self._options = options
        self._kind = options.kind
        self._client: httpx.AsyncClient | None = None

    async def request_images(
        self, url: str, request: ServerRequest, files: Sequence[bytes], mask: bytes = b""
    ) -> tuple[str, Reply]:
        """Request an edit if `files` is not empty. Otherwise, request a generation.

        `url` is the base URL, and `mask` belongs to the first file. Returns the URL of the request, and the response.
        """
        path, content = await asyncio.to_thread(self._content, request, files, mask)
        request_url = url_below(url, f"images/{path}")
        reply = await send_request(
            self._http_client(),
            "POST",
            request_url,
            timeout_s=self._options.timeout_s,
            max_bytes=MAX_ANSWER_BYTES * request.n,
            **content,
        )
        return request_url, reply

    def _content(self, request: ServerRequest, files: Sequence[bytes], mask: bytes) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of a request. Blocks the calling thread."""
        compatible = self._options.compatible
        if compatible:
            fields: Mapping[str, object] = compatible_fields(compatible, request)
            if not files or compatible.references_as != "form":
                return compatible_body(compatible, fields, files)
            part = compatible.reference_field
        else:
            fields = request_fields(self._kind, request, edit=bool(files))
            part = self._kind.image_part
        if not files:
            return "generations", {"json": fields}
        parts = [
            (part, (f"{number}.{ending}", content, f"image/{ending}"))
            for number, content in enumerate(files, 1)
            for ending in ["png" if content.startswith(b"\x89PNG") else "jpeg"]
        ]
        if mask:
            parts.append((self._kind.mask_part, ("mask.png", mask, "image/png")))
        return "edits", {"data": {name: form_value(value) for name, value in fields.items()}, "files": parts}

    async def request_health(self, url: str) -> Reply:
        """Send the health check. `url` is the base URL of the server, which must have a health path."""
        compatible = self._options.compatible
        health_url = f"{url.removesuffix('/v1')}{self._kind.health_path}"
        if compatible:
            parts = urlsplit(url)
            health_url = f"{parts.scheme}://{parts.netloc}{compatible.health_path}"
        return await send_request(
            self._http_client(), "GET", health_url, timeout_s=_HEALTH_TIMEOUT_S, max_bytes=_MAX_HEALTH_BYTES
        )

    def _http_client(self) -> "httpx.AsyncClient":
        """Return the HTTP client. The first call creates the client."""
        if self._client is None:
            key_header = self._options.compatible.api_key_header if self._options.compatible else ""
            headers = {}
            if self._options.api_key and key_header:
                headers[key_header] = self._options.api_key
            elif self._options.api_key:
                headers["Authorization"] = f"Bearer {self._options.api_key}"
            self._client = open_client(headers)
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def url_below(base_url: str, path: str) -> str:
    """Return the URL of `path` below the path of `base_url`, with the query of `base_url`."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=f"{parts.path}/{path}"))
