"""Download the images that a result contains."""

from dataclasses import dataclass

from framehouse_client import AsyncClient
from framehouse_client.downloading import download, extension
from framehouse_client.errors import FramehouseError

MAX_CONTENT_BYTES = 950_000
"""The maximum size of all images of one result as base64. The Python package of MCP refuses events of more than one
MiB, and a model's context is small."""
_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "avif": "image/avif"}


@dataclass(frozen=True, slots=True)
class DownloadedImage:
    content: bytes
    media_type: str


async def fetch_image(client: AsyncClient, url: str, *, max_base64_bytes: int) -> DownloadedImage | None:
    """Return an image, or None if it has more bytes as base64, or if it cannot be downloaded.

    A result without an image is still useful, because it contains the links to all images.
    """
    try:
        content = await client.run(download, url)
    except FramehouseError:
        return None
    if len(content) * 4 > max_base64_bytes * 3:
        return None
    return DownloadedImage(content, _MEDIA_TYPES[extension(content)])
