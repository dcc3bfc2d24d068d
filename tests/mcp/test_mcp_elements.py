"""Saved elements and presets as resources."""

import json

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import TextResourceContents

from tests.support.api_server import Api
from tests.support.mcp_clients import LEGACY, MODERN, connected_to


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_own_elements_and_presets_are_listed_and_read_with_their_images(api: Api, mode: str) -> None:
    api.deployment.start_element_worker()
    own = await api.save_element()
    async with connected_to(api, mode) as client:
        first = await client.list_resources()
        second = await client.list_resources(cursor=first.next_cursor)
        assert [str(resource.uri) for resource in first.resources] == [f"framehouse://elements/{own}"]
        assert len(second.resources) > 3
        assert second.next_cursor is None
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["framehouse://elements/{id}"]
        for uri in (first.resources[0].uri, second.resources[0].uri):
            contents = (await client.read_resource(uri)).contents
            assert isinstance(contents[0], TextResourceContents)
            description = json.loads(contents[0].text)
            assert uri.endswith(f"/{description['element_id']}")
            assert len(contents) == 1 + len(description["images"])
            assert all(str(content.mime_type).startswith("image/") for content in contents[1:])


async def test_unknown_and_foreign_elements_are_errors(api: Api) -> None:
    api.deployment.start_element_worker()
    own = await api.save_element()
    async with connected_to(api, client=api.bob) as client:
        for uri in (
            f"framehouse://elements/{own}",
            "framehouse://elements/999",
            "framehouse://elements/x",
            "file:///x",
        ):
            with pytest.raises(MCPError, match=r"there is no element|must have the form"):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match="cursor"):
            await client.list_resources(cursor="-1")
