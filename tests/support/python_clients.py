"""Both clients of framehouse-client with the methods of the asynchronous one, so that a test is written once."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Literal, cast

from framehouse_client import AsyncClient, Client
from tests.support.api_server import Api

ClientKind = Literal["sync", "async"]


def key_of(api: Api) -> str:
    """The key of alice."""
    return str(api.alice.headers["Authorization"]).removeprefix("Bearer ")


def open_client(kind: ClientKind, url: str, key: str | None = "fh_test", **options: Any) -> AsyncClient:
    """A client of the given kind. The methods of the synchronous client run in threads."""
    if kind == "async":
        return AsyncClient(url, key, **options)
    return cast(AsyncClient, _InThreads(Client(url, key, **options)))


class _InThreads:
    """An object of the synchronous client whose methods return awaitables or asynchronous iterators."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not inspect.ismethod(value):
            return _wrapped(value)
        if inspect.isgeneratorfunction(value) or name in ("list", "presets"):
            return partial(_iterate, value)
        return partial(_call, value)

    async def __aenter__(self) -> "_InThreads":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._target.close()


async def _call(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return _wrapped(await asyncio.to_thread(method, *arguments, **named))


async def _iterate(method: Callable[..., Iterator[Any]], *arguments: Any, **named: Any) -> AsyncIterator[Any]:
    iterator, end = method(*arguments, **named), object()
    while (item := await asyncio.to_thread(next, iterator, end)) is not end:
        yield _wrapped(item)


def _wrapped(value: Any) -> Any:
    if isinstance(value, list):
        return [_wrapped(item) for item in value]
    public = type(value).__module__.startswith("framehouse_client.sync_client")
    return _InThreads(value) if public else value
