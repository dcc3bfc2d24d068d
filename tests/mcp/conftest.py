"""Fixtures for the tests of the MCP server."""

from collections.abc import AsyncIterator

import pytest

from tests.support.api_server import Api, serving
from tests.support.in_process_deployment import MakeDeployment


@pytest.fixture
async def working(make_deployment: MakeDeployment) -> AsyncIterator[Api]:
    """A served API with a worker and the built-in engine."""
    deployment = await make_deployment({"engine": "previz"})
    deployment.start_worker()
    async with serving(deployment) as api:
        yield api
