"""Framehouse connects only to the public addresses that it has checked.

The tests use host names that resolve to different addresses, redirects, and private addresses in unusual forms.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from framehouse.adapters import fetch as fetching
from framehouse.adapters.fetch import FetchFailed, fetch, is_public, post
from framehouse.domain.field_reader import url_problem
from tests.support.api_server import ELEMENTS, PATH, Api, element_body, serving
from tests.support.callbacks import list_messages, running_callback_worker
from tests.support.eventually import eventually
from tests.support.http_answers import http
from tests.support.in_process_deployment import MakeDeployment

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"
"""Both addresses are this machine, so that no request leaves it. In these tests, PUBLIC counts as a public address."""
GETADDRINFO = socket.getaddrinfo
needs_two = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")


class Resolver:
    """Replaces `socket.getaddrinfo`. Each query for a `*.example` name gets the next answer of a list.

    The last answer repeats. The system resolves other names. `queried` are the names in the order of the queries.
    """

    def __init__(self, *answers: str | list[str]) -> None:
        self.answers = [[answer] if isinstance(answer, str) else answer for answer in answers]
        self.queried: list[str] = []

    def __call__(self, host: Any, port: Any, *args: Any, **named: Any) -> list[Any]:
        if not str(host).rstrip(".").endswith(".example"):
            return GETADDRINFO(host, port, *args, **named)
        self.queried.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in addresses
        ]


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str | list[str]) -> Iterator[Resolver]:
    resolver = Resolver(*answers)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolver)
        patch.setattr(fetching, "is_public", lambda address: address == PUBLIC or is_public(address))
        yield resolver


@asynccontextmanager
async def two_servers(answer: bytes) -> AsyncIterator[tuple[int, dict[str, int]]]:
    """Start servers at both addresses, on the same port. Yields the port and the connections counted per address."""
    counts = {PUBLIC: 0, PRIVATE: 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts[writer.get_extra_info("sockname")[0]] += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    first = await asyncio.start_server(serve, PRIVATE, 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(serve, PUBLIC, port)
    async with first, second:
        yield port, counts


async def call(purpose: str, url: str) -> bytes | int:
    if purpose == "reference":
        return await fetch(url, max_bytes=1000, allow_private=False)
    return (await post(url, b"{}", {}, idle_timeout_s=5, allow_private=False))[0]


@needs_two
@pytest.mark.parametrize(("purpose", "result"), [("reference", b"image"), ("callback", 200)])
async def test_the_checked_address_is_used_even_if_the_name_resolves_to_another_one_later(
    monkeypatch: pytest.MonkeyPatch, purpose: str, result: object
) -> None:
    async with two_servers(http("200 OK", b"image")) as (port, counts):
        url = f"http://changes.example:{port}/"
        with resolving(monkeypatch, PUBLIC, PRIVATE) as resolver:
            assert await call(purpose, url) == result
            assert resolver.queried == ["changes.example"], "the name was resolved more than once"
            assert counts == {PUBLIC: 1, PRIVATE: 0}
            with pytest.raises(FetchFailed, match="private"):
                await call(purpose, url)
        for mixed in ([PUBLIC, PRIVATE], [PUBLIC, "::1"], [PUBLIC, "10.0.0.1"], [PUBLIC, "::ffff:127.0.0.1"]):
            with resolving(monkeypatch, mixed), pytest.raises(FetchFailed, match="private"):
                await call(purpose, url)
        assert counts == {PUBLIC: 1, PRIVATE: 0}


@needs_two
async def test_the_address_is_checked_again_for_each_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two_servers(http("302 Found", b"", "Location: /again")) as (port, counts):
        url = f"http://changes.example:{port}/"
        with resolving(monkeypatch, PUBLIC, PUBLIC, PRIVATE) as resolver:
            with pytest.raises(FetchFailed, match="private"):
                await fetch(url, max_bytes=1000, allow_private=False)
            assert len(resolver.queried) == 3
        assert counts == {PUBLIC: 2, PRIVATE: 0}
        with resolving(monkeypatch, PUBLIC):
            code, _ = await post(url, b"{}", {}, idle_timeout_s=5, allow_private=False)
            assert (code, counts) == (302, {PUBLIC: 3, PRIVATE: 0}), "a callback followed a redirect"


@needs_two
@pytest.mark.parametrize(
    "location",
    ["http://{private}:{port}/", "//{private}:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://2130706433:{port}/",
     "http://0177.0.0.1:{port}/", "http://0x7f.1:{port}/", "http://127.1:{port}/", "http://localhost:{port}/",
     "http://localhost.:{port}/", "http://u:p@{public}:{port}/", "http://{private}\\\\@{public}:{port}/",
     "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/", "ftp://{public}:{port}/", "gopher://{public}:{port}/"],
)  # fmt: skip
async def test_a_redirect_to_a_private_address_is_not_followed(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    counts = {PUBLIC: 0, PRIVATE: 0}
    target = ""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts[writer.get_extra_info("sockname")[0]] += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http("302 Found", b"", f"Location: {target}"))
        writer.close()

    first = await asyncio.start_server(serve, PRIVATE, 0)
    port = first.sockets[0].getsockname()[1]
    second = await asyncio.start_server(serve, PUBLIC, port)
    target = location.format(private=PRIVATE, public=PUBLIC, port=port)
    async with first, second:
        with resolving(monkeypatch, PUBLIC), pytest.raises(FetchFailed):
            await fetch(f"http://public.example:{port}/", max_bytes=1000, allow_private=False)
    assert counts == {PUBLIC: 1, PRIVATE: 0}


@needs_two
async def test_only_the_private_host_itself_may_have_a_private_address() -> None:
    """The upstream of the engine `kling` may be in the private network; targets of its redirects may not be there."""
    async with two_servers(http("302 Found", b"", f"Location: http://{PUBLIC}/")) as (port, counts):
        with pytest.raises(FetchFailed, match="private"):
            await fetch(f"http://{PRIVATE}:{port}/", max_bytes=1000, allow_private=False, private_host=PRIVATE)
        assert counts == {PUBLIC: 0, PRIVATE: 1}
    async with two_servers(http("200 OK", b"image")) as (port, _):
        url = f"http://{PRIVATE}:{port}/"
        assert await fetch(url, max_bytes=1000, allow_private=False, private_host=PRIVATE) == b"image"
        with pytest.raises(FetchFailed, match="private"):
            await fetch(url, max_bytes=1000, allow_private=False, private_host="other.example")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0", "0.0.0.0",
     "localhost", "localhost.", "LOCALHOST", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
     "169.254.169.254", "2852039166", "0xa9fea9fe", "10.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1",
     "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]",
     "[2002:7f00:1::]", "[fe80::1%25eth0]", "[fd00::1]", "[::127.0.0.1]"],
)  # fmt: skip
async def test_private_addresses_in_unusual_forms_are_not_called(host: str) -> None:
    """The API may accept such a URL, because only the worker resolves host names; the worker does not connect to it."""
    url = f"http://{host}:9/x.png"
    for purpose in ("reference", "callback"):
        with pytest.raises(FetchFailed) as error:
            await call(purpose, url)
        assert "private" in error.value.message or "cannot be resolved" in error.value.message, error.value.message


@pytest.mark.parametrize(
    "url",
    ["http://u:p@public.example/", "http://@public.example/", "http://127.0.0.1\\@public.example/", "http:///x",
     "http://", "http://[::1", "http://a..example/", "http://" + "a" * 64 + ".example/", "ftp://public.example/",
     "file:///etc/passwd", "http://public.example:70000/", "http://public.example:x/", "http://a\x85b.example/",
     "http://a\u2028b.example/", "//public.example/", "javascript:alert(1)", "http://℀.example/"],
)  # fmt: skip
async def test_an_invalid_url_is_rejected_and_would_not_be_called(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert url_problem(url)
    with resolving(monkeypatch, ["10.0.0.1"]) as resolver:
        for purpose in ("reference", "callback"):
            with pytest.raises(FetchFailed):
                await call(purpose, url)
    assert not resolver.queried


async def test_tasks_elements_and_callbacks_do_not_call_private_addresses(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API accepts host names that resolve to private addresses; the workers refuse to call them."""
    deployment = await make_deployment()
    with resolving(monkeypatch, PRIVATE) as resolver:
        async with serving(deployment) as api, running_callback_worker(deployment, allow_private=False):
            hook, image = "http://hook.example/?token=1", {"image": "http://image.example/a.png"}
            task = await api.create(image_list=[image], callback_url=hook)
            images = {"frontal_image": image["image"], "refer_images": [{"image_url": image["image"]}]}
            element = await api.alice.post(ELEMENTS, json=element_body(element_image_list=images))
            assert not resolver.queried, "the API resolved a name"
            deployment.start_worker()
            deployment.start_element_worker(allow_private=False)
            reason = "points to a private or special address, which is not allowed"
            assert (await api.wait_for_task(task["task_id"]))["task_status_msg"] == f"image_list[0].image {reason}"
            element_task = await api.wait_for_element(element.json()["data"]["task_id"])
            assert element_task["task_status_msg"].endswith(reason)

            async def reason_recorded() -> bool:
                return any(reason in (m.last_error or "") for m in await list_messages(deployment))

            await eventually(reason_recorded)
            await assert_address_not_disclosed(api, task["task_id"])


async def assert_address_not_disclosed(api: Api, task_id: str) -> None:
    """Assert that a caller learns only that the address is private, but not the address."""
    task = (await api.alice.get(f"{PATH}/{task_id}")).text
    callbacks = (await api.alice.get(f"{PATH}/{task_id}/callbacks")).text
    assert PRIVATE not in task + callbacks
