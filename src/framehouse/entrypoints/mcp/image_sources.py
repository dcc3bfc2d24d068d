"""Read the image arguments of a tool call."""

import base64
import binascii
from pathlib import Path

from framehouse.domain.reference import MAX_REFERENCE_BYTES, is_url
from framehouse.entrypoints.mcp.tool_errors import ToolFailed

_MAX_PATH_CHARACTERS = 1024


def read_image(text: str, *, local_files: bool) -> str | bytes:
    """Return an http(s) or `data:` URL unchanged, or the content of an image that is base64 data or a local file.

    Files are read only if `local_files` is true. A server must not read its own files for a remote caller. Raises
    ToolFailed.
    """
    if is_url(text) or text[:5].lower() == "data:":
        return text
    if local_files and (path := _file(text)):
        return _content(path)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    shown = f'"{text[:80]}"'
    if local_files:
        raise ToolFailed(f"the image {shown} is not an existing file, an http(s) URL, a data: URL or base64 data")
    advice = "the server cannot read files of your machine; send a URL, a data: URL or base64 data"
    raise ToolFailed(f"the image {shown} is neither an http(s) URL, a data: URL nor base64 data; {advice}")


def _file(text: str) -> Path | None:
    """Return the path of an existing file, or None."""
    if len(text) > _MAX_PATH_CHARACTERS or "\0" in text:
        return None
    path = Path(text.removeprefix("file://")).expanduser()
    try:
        return path if path.is_file() else None
    except OSError:
        return None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_REFERENCE_BYTES + 1)
    except OSError as error:
        raise ToolFailed(f"cannot read the image {path}: {error.strerror}") from error
    if len(content) > MAX_REFERENCE_BYTES:
        raise ToolFailed(f"the image {path} has more than {MAX_REFERENCE_BYTES:,} bytes; send a smaller file")
    return content
