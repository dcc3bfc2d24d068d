"""Fixtures: a real server with a worker, and both clients."""

from collections.abc import AsyncIterator

import pytest

from framehouse_client import AsyncClient
from tests.support.api_server import Api
from tests.support.python_clients import ClientKind, key_of, open_client


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> ClientKind:
    value: ClientKind = request.param
    return value


@pytest.fixture
def key(api: Api) -> str:
    return key_of(api)


@pytest.fixture
async def client(api: Api, key: str, kind: ClientKind) -> AsyncIterator[AsyncClient]:
    async with open_client(kind, api.url, key, retry_s=60) as opened:
        yield opened
