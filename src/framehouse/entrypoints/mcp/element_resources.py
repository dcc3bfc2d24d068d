"""Saved elements and presets as resources of the MCP server."""

import base64
import json
import re
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from framehouse.entrypoints.mcp.result_images import MAX_CONTENT_BYTES, fetch_image
from framehouse_client import AsyncClient
from framehouse_client.elements import Element, get_element, list_page
from framehouse_client.errors import FramehouseError, InvalidRequest, NotFound

TEMPLATE = types.ResourceTemplate(
    uri_template="framehouse://elements/{id}",
    name="element",
    title="Saved element",
    description="A saved subject, such as a character, a product or a scene. Pass its id to create_images in elements, "
    "and cite it in the prompt as <<<element_1>>>",
)
_URI = re.compile(r"framehouse://elements/(\d{1,16})")
_PAGE_SIZE = 100
_PRESETS_CURSOR, _PRESET_OWNER = "presets", "framehouse"


async def list_elements(client: AsyncClient, cursor: str | None) -> types.ListResourcesResult:
    """List a page of the account's own elements, newest first. The last page contains the presets."""
    if cursor is not None and cursor != _PRESETS_CURSOR and not re.fullmatch(r"[1-9]\d{0,2}", cursor):
        raise MCPError(types.INVALID_PARAMS, "the cursor is unknown; list the resources without a cursor")
    presets, page = cursor == _PRESETS_CURSOR, 1 if cursor in (None, _PRESETS_CURSOR) else int(cursor or 1)
    try:
        count, elements = await client.run(list_page, page, _PAGE_SIZE, presets=presets)
    except FramehouseError as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from error
    next_cursor = None if presets else str(page + 1) if count == _PAGE_SIZE else _PRESETS_CURSOR
    return types.ListResourcesResult(resources=list(map(_resource, filter(_usable, elements))), next_cursor=next_cursor)


async def read_element(client: AsyncClient, uri: str) -> types.ReadResourceResult:
    """Return the description of an element as JSON, and its images if they are small enough."""
    match = _URI.fullmatch(uri)
    if match is None:
        message = f"the URI must have the form framehouse://elements/ID, not {uri[:100]}"
        raise MCPError(types.INVALID_PARAMS, message, {"uri": uri[:1000]})
    try:
        element = await client.run(get_element, match[1])
    except (NotFound, InvalidRequest):
        element = None
    except FramehouseError as error:
        raise MCPError(types.INTERNAL_ERROR, str(error)) from error
    if element is None or not _usable(element):
        message = f"there is no element {match[1]}; list the resources to see all elements"
        raise MCPError(types.INVALID_PARAMS, message, {"uri": uri})
    text = json.dumps(_description(element), ensure_ascii=False)
    contents: list[types.TextResourceContents | types.BlobResourceContents] = [
        types.TextResourceContents(uri=uri, mime_type="application/json", text=text)
    ]
    left = MAX_CONTENT_BYTES
    for number, url in enumerate(element.image_urls, 1):
        if file := await fetch_image(client, url, max_base64_bytes=left):
            blob = base64.b64encode(file.content).decode()
            left -= len(blob)
            contents.append(
                types.BlobResourceContents(uri=f"{uri}/images/{number}", mime_type=file.media_type, blob=blob)
            )
    return types.ReadResourceResult(contents=contents)


def _usable(element: Element) -> bool:
    return element.raw.get("status") != "deleted"


def _resource(element: Element) -> types.Resource:
    return types.Resource(
        uri=f"framehouse://elements/{element.id}",
        name=element.name,
        description=element.description + (" (preset)" if element.owned_by == _PRESET_OWNER else ""),
        mime_type="application/json",
    )


def _description(element: Element) -> dict[str, Any]:
    return {
        "element_id": element.id,
        "name": element.name,
        "description": element.description,
        "tags": element.tags,
        "preset": element.owned_by == _PRESET_OWNER,
        "images": element.image_urls,
    }
