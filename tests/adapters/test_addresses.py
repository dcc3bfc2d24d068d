"""Names that change their answer, addresses in disguise: what we fetch and call is where it was checked to be."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from framehouse.adapters import fetch as fetching
from framehouse.adapters.fetch import FetchFailed, fetch, is_public, post
from framehouse.domain.request import url_problem
from tests.support.api_server import ELEMENTS, PATH, Api, element_body, serving
from tests.support.callbacks import list_messages, running_callback_worker
from tests.support.eventually import eventually
from tests.support.http_answers import http
from tests.support.in_process_deployment import MakeDeployment

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"
"""Both are this machine, so that nothing leaves it; in these tests the first stands for one of the open internet."""
REAL = socket.getaddrinfo
needs_two = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")


class Resolver:
    """Answers for `*.example` from a list, one after the other, the last for ever; for the rest as the system does."""

    def __init__(self, *answers: str | list[str]) -> None:
        self.answers = [[answer] if isinstance(answer, str) else answer for answer in answers]
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *rest: Any, **named: Any) -> list[Any]:
        if not str(host).rstrip(".").endswith(".example"):
            return REAL(host, port, *rest, **named)
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))
            for address in found
        ]


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str | list[str]) -> Iterator[Resolver]:
    resolver = Resolver(*answers)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolver)
        patch.setattr(fetching, "is_public", lambda address: address == PUBLIC or is_public(address))
        yield resolver


@asynccontextmanager
async def both(answer: bytes) -> AsyncIterator[tuple[int, dict[str, int]]]:
    """Servers at both addresses on one port, and how many connections each got."""
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


async def call(how: str, url: str) -> bytes | int:
    if how == "reference":
        return await fetch(url, max_bytes=1000, allow_private=False)
    return (await post(url, b"{}", {}, idle_timeout_s=5, allow_private=False))[0]


@needs_two
@pytest.mark.parametrize(("how", "result"), [("reference", b"picture"), ("callback", 200)])
async def test_a_name_that_changes_its_answer_leads_where_it_was_checked(
    monkeypatch: pytest.MonkeyPatch, how: str, result: object
) -> None:
    async with both(http("200 OK", b"picture")) as (port, counts):
        url = f"http://changes.example:{port}/"
        with resolving(monkeypatch, PUBLIC, PRIVATE) as resolver:
            assert await call(how, url) == result
            assert resolver.asked == ["changes.example"], "looked up once: there is no second answer to follow"
            assert counts == {PUBLIC: 1, PRIVATE: 0}
            with pytest.raises(FetchFailed, match="private"):
                await call(how, url)
        for mixed in ([PUBLIC, PRIVATE], [PUBLIC, "::1"], [PUBLIC, "10.0.0.1"], [PUBLIC, "::ffff:127.0.0.1"]):
            with resolving(monkeypatch, mixed), pytest.raises(FetchFailed, match="private"):
                await call(how, url)
        assert counts == {PUBLIC: 1, PRIVATE: 0}


@needs_two
async def test_each_hop_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with both(http("302 Found", b"", "Location: /again")) as (port, counts):
        url = f"http://changes.example:{port}/"
        with resolving(monkeypatch, PUBLIC, PUBLIC, PRIVATE) as resolver:
            with pytest.raises(FetchFailed, match="private"):
                await fetch(url, max_bytes=1000, allow_private=False)
            assert len(resolver.asked) == 3
        assert counts == {PUBLIC: 2, PRIVATE: 0}
        with resolving(monkeypatch, PUBLIC):
            code, _ = await post(url, b"{}", {}, idle_timeout_s=5, allow_private=False)
            assert (code, counts) == (302, {PUBLIC: 3, PRIVATE: 0}), "callbacks follow nothing"


@needs_two
@pytest.mark.parametrize(
    "location",
    ["http://{private}:{port}/", "//{private}:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://2130706433:{port}/",
     "http://0177.0.0.1:{port}/", "http://0x7f.1:{port}/", "http://127.1:{port}/", "http://localhost:{port}/",
     "http://localhost.:{port}/", "http://u:p@{public}:{port}/", "http://{private}\\\\@{public}:{port}/",
     "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/", "ftp://{public}:{port}/", "gopher://{public}:{port}/"],
)  # fmt: skip
async def test_a_redirect_to_a_private_place_is_not_followed(monkeypatch: pytest.MonkeyPatch, location: str) -> None:
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
async def test_a_host_that_may_be_private_vouches_for_no_other() -> None:
    """The upstream of the engine kling may be in the own network; what it redirects to may not."""
    async with both(b"") as (port, counts):
        pass
    async with both(http("302 Found", b"", f"Location: http://{PUBLIC}:{port}/")) as (port, counts):
        with pytest.raises(FetchFailed, match="private"):
            await fetch(f"http://{PRIVATE}:{port}/", max_bytes=1000, allow_private=False, private_host=PRIVATE)
        assert counts == {PUBLIC: 0, PRIVATE: 1}
    async with both(http("200 OK", b"picture")) as (port, _):
        url = f"http://{PRIVATE}:{port}/"
        assert await fetch(url, max_bytes=1000, allow_private=False, private_host=PRIVATE) == b"picture"
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
async def test_private_addresses_in_disguise(host: str) -> None:
    """Accepted or not by their form, nobody connects to them: of names it is the worker that decides."""
    url = f"http://{host}:9/x.png"
    for how in ("reference", "callback"):
        with pytest.raises(FetchFailed) as failed:
            await call(how, url)
        assert "private" in failed.value.message or "cannot be found" in failed.value.message, failed.value.message


@pytest.mark.parametrize(
    "url",
    ["http://u:p@public.example/", "http://@public.example/", "http://127.0.0.1\\@public.example/", "http:///x",
     "http://", "http://[::1", "http://a..example/", "http://" + "a" * 64 + ".example/", "ftp://public.example/",
     "file:///etc/passwd", "http://public.example:70000/", "http://public.example:x/", "http://a\x85b.example/",
     "http://a\u2028b.example/", "//public.example/", "javascript:alert(1)", "http://℀.example/"],
)  # fmt: skip
async def test_what_is_refused_by_its_form_would_not_be_called_either(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    assert url_problem(url)
    with resolving(monkeypatch, ["10.0.0.1"]) as resolver:
        for how in ("reference", "callback"):
            with pytest.raises(FetchFailed):
                await call(how, url)
    assert not resolver.asked


async def test_tasks_elements_and_callbacks_all_go_by_these_rules(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that looks public when it is accepted and is private when it is called."""
    deployment = await make_deployment()
    with resolving(monkeypatch, PRIVATE) as resolver:
        async with serving(deployment) as api, running_callback_worker(deployment, allow_private=False):
            hook, image = "http://hook.example/?token=1", {"image": "http://picture.example/a.png"}
            task = await api.create(image_list=[image], callback_url=hook)
            images = {"frontal_image": image["image"], "refer_images": [{"image_url": image["image"]}]}
            element = await api.alice.post(ELEMENTS, json=element_body(element_image_list=images))
            assert not resolver.asked, "accepting looks nothing up"
            deployment.start_worker()
            deployment.start_element_worker(allow_private=False)
            reason = "leads to a private or special address, which is not allowed"
            assert (await api.wait_for_task(task["task_id"]))["task_status_msg"] == f"image_list[0].image {reason}"
            made = await api.wait_for_element(element.json()["data"]["task_id"])
            assert made["task_status_msg"].endswith(reason)

            async def told() -> bool:
                return any(reason in (m.last_error or "") for m in await list_messages(deployment))

            await eventually(told)
            await nothing_inside(api, task["task_id"])


async def nothing_inside(api: Api, task_id: str) -> None:
    """What a caller learns is that the address is private, not which it is or what listens there."""
    told = (await api.alice.get(f"{PATH}/{task_id}")).text + (await api.alice.get(f"{PATH}/{task_id}/callbacks")).text
    assert PRIVATE not in told
