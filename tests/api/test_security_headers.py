"""Headers of every answer, and requests that try to be two, to be elsewhere, or to write headers of their own."""

import asyncio
import json
from urllib.parse import quote, urlsplit

import httpx
import pytest

from framehouse.domain.signed_urls import Links
from tests.support.api_answers import BODY, error
from tests.support.api_server import PATH, Api, serving
from tests.support.in_process_deployment import MakeDeployment
from tests.support.raw_connections import connected, refusal, until_closed

PRESETS = "/v1/general/advanced-presets-elements?pageSize=1"


async def send(api: Api, request: bytes, *, seconds: float = 60) -> bytes:
    """The answer to the bytes of one request, which ends its connection."""
    async with connected(api) as (reader, writer):
        writer.write(request)
        return await until_closed(reader, seconds=seconds)


async def image(api: Api) -> str:
    api.deployment.start_worker()
    task = await api.create()
    return str((await api.wait_for_task(task["task_id"]))["task_result"]["images"][0]["url"])


async def test_every_answer_is_guarded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, asked_again, never = "private, max-age=", "no-cache", "no-store"
    answers = [
        (await api.alice.get(PATH), never),
        (await api.alice.post(PATH, json=BODY), never),
        (await api.alice.get("/v1/account"), never),
        (await api.alice.get(PRESETS), never),
        (await api.anonymous.get(PATH), never),
        (await api.anonymous.get("/nowhere"), never),
        (await api.anonymous.delete(PATH), never),
        (await api.anonymous.get("/images/x"), never),
        (await api.anonymous.post("/hasten/1/x"), never),
        (await api.anonymous.get("/healthz"), never),
        (await api.anonymous.get("/readyz"), never),
        (await api.anonymous.get("/metrics"), never),
        (await api.anonymous.get("/openapi.json"), never),
        (await api.anonymous.get("/console/config.json"), asked_again),
        (await api.anonymous.get("/"), asked_again),
        (await api.anonymous.get("/console/app.js"), asked_again),
        (await api.anonymous.get("/console/icon.svg"), asked_again),
        (await api.anonymous.get("/docs"), asked_again),
        (await api.anonymous.get("/docs/index.html"), asked_again),
        (await api.anonymous.get("/docs/start.js"), asked_again),
        (await api.anonymous.get("/docs/nothing.js"), never),
        (await api.anonymous.get("/presets/nothing.webp"), never),
        (await api.anonymous.get(await image(api)), kept),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("framehouse.adapters.postgres.task_store.list_tasks", None)
        answers.append((await api.alice.get(PATH), never))
        assert answers[-1][0].status_code == 500
    for answer, cached in answers:
        headers, what = answer.headers, f"{answer.request.url} {answer.headers}"
        sent = [name for name, _ in headers.multi_items()]
        assert len(sent) == len(set(sent)), what
        assert headers["x-content-type-options"] == "nosniff", what
        assert headers["referrer-policy"] == "no-referrer", what
        assert headers["cache-control"].startswith(cached), what
        assert "server" not in headers, what
        if not headers["content-type"].startswith("image/png"):
            assert "default-src '" in headers["content-security-policy"], what
            assert "frame-ancestors 'none'" in headers["content-security-policy"], what
    scripts = [a.headers["content-security-policy"] for a, _ in answers if "html" in a.headers["content-type"]]
    assert len(scripts) == 3
    assert not any("script-src 'unsafe" in policy for policy in scripts)


async def test_what_is_two_requests_to_some_is_none_here(api: Api) -> None:
    """Each of these is read in two ways by servers out there; a proxy before us may be one of them."""
    key = api.alice.headers["authorization"]
    start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n".encode()
    length, chunked, end = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n0\r\n\r\n"
    table = {
        "both": start + length + chunked + end,
        "both, the other way round": start + chunked + length + end,
        "two lengths": start + length + b"Content-Length: 4\r\n\r\n{} ",
        "the same length twice": start + length + length + b"\r\n{} ",
        "a list of lengths": start + b"Content-Length: 3, 3\r\n\r\n{} ",
        "a signed length": start + b"Content-Length: +3\r\n\r\n{} ",
        "a negative length": start + b"Content-Length: -3\r\n\r\n{} ",
        "a length without end": start + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{} ",
        "a space before the colon": start + b"Transfer-Encoding : chunked\r\n" + end,
        "an unknown coding": start + b"Transfer-Encoding: xchunked\r\n" + end,
        "chunked is not the last": start + b"Transfer-Encoding: chunked, gzip\r\n" + end,
        "a control character in the coding": start + b"Transfer-Encoding: \x0bchunked\r\n" + end,
        "chunked twice": start + chunked + chunked + end,
        "a folded header": start + b"X-A: b\r\n Transfer-Encoding: chunked\r\n" + end,
        "bare line feeds": start.replace(b"\r\n", b"\n") + b"\n",
        "a bare carriage return": start + b"X-A: b\rX-B: c\r\n\r\n",
        "a null in a header": start + b"X-A: b\0c\r\n\r\n",
        "a chunk that is shorter": start + chunked + b"\r\n5\r\n{}\r\n0\r\n\r\n",
        "a chunk of negative size": start + chunked + b"\r\n-2\r\n{}\r\n0\r\n\r\n",
        "a chunk of endless size": start + chunked + b"\r\n" + b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n",
        "two hosts": start + b"Host: y\r\n\r\n",
        "no method": b"NONE / HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a tunnel": b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        "a URL without a path": b"GET http://evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "a path that is not ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    for what, request in table.items():
        answer = await send(api, request)
        assert answer.count(b"HTTP/1.1 ") == 1, what
        assert refusal(answer) == (400, 1200), what
    assert (await api.alice.get(PATH)).json()["data"] == []


async def test_targets_that_try_to_be_elsewhere(api: Api) -> None:
    for target, status in {
        "http://evil.example/healthz": 200,
        "//evil.example/healthz": 404,
        "///healthz": 404,
        "/./healthz": 404,
        "/nothing/../healthz": 404,
        "/healthz/..;/readyz": 404,
        "/%2e%2e/healthz": 404,
        "/presets/..%2f..%2fsettings.py": 404,
        "/presets/%2e%2e/%2e%2e/settings.py": 404,
        "/docs/..%2f..%2fsettings.py": 404,
        "/docs/%2fetc%2fpasswd": 404,
        "/console/..%2fapi%2fserver.py": 404,
        "/a%0d%0aX-Evil:%20yes": 404,
        "/%ff%00%zz": 404,
        "*": 404,
    }.items():
        answer = await send(api, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status, target
        assert b"evil" not in head.lower(), target
        assert b"location" not in head.lower(), target
        assert json.loads(body), target


async def test_a_signature_is_good_for_its_own_picture_only(api: Api) -> None:
    url = urlsplit(await image(api))
    other = (await api.wait_for_task((await api.create())["task_id"]))["task_result"]["images"][0]["url"]
    own, others = url.path, urlsplit(other).path
    folder, _, name = own.rpartition("/")
    await api.deployment.storage.put("secret.png", b"secret")
    for path in (
        others,
        f"{folder}/..%2f{others.split('/', 2)[2]}",
        f"{folder}/../{others.split('/', 2)[2]}",
        f"{folder}/%2e%2e/%2e%2e/secret.png",
        "/images/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/images/../secret.png",
        "/references/..%2fsecret.png",
        "/references" + own.removeprefix("/images"),
        "//images" + own.removeprefix("/images"),
        own + "%00",
        own + "%0a",
        own + "/",
        f"{folder}//{name}",
        f"{folder}/{name.replace('.png', '.PNG')}",
    ):
        raw = httpx.URL(api.url).copy_with(raw_path=f"{path}?{url.query}".encode())
        answer = await api.anonymous.get(raw)
        assert (answer.status_code, answer.json()["code"]) in ((404, 1203), (404, 1202)), path
    await api.deployment.storage.put("images/notes.txt", b"secret")
    for path in (
        "images/notes.txt",
        "../secret",
        "images/../../secret.png",
        "images/x.png",
        "secret.png",
        "/etc/passwd",
    ):
        signed = Links("secret").image_url(path, None)
        answer = await api.anonymous.get(httpx.URL(api.url).copy_with(raw_path=f"/{signed.lstrip('/')}".encode()))
        assert answer.status_code == 404, "even a signature of ours opens nothing but pictures"


async def test_a_host_header_comes_back_to_its_sender_alone_and_only_as_a_host(make_deployment: MakeDeployment) -> None:
    async def told(api: Api, host: bytes) -> str:
        key = api.alice.headers["authorization"].encode()
        head = b"Connection: close\r\nAuthorization: " + key + b"\r\nHost: " + host
        body = (await send(api, f"GET {PRESETS} HTTP/1.1\r\n".encode() + head + b"\r\n\r\n")).partition(b"\r\n\r\n")[2]
        element = json.loads(body)["data"][0]["task_result"]["elements"][0]
        return str(element["element_image_list"]["frontal_image"]).partition("/presets/")[0]

    deployment = await make_deployment()
    async with serving(deployment) as api:
        for host in ("house.example", "house_1:8000", "[::1]:8000", "127.0.0.1"):
            assert await told(api, host.encode()) == f"http://{host}"
        for bad in (b"", b"a b", b'a"><script>', b"a/b", b"a?b#c", b"user@a", b"[::1", b"a:b", b"\xff\xfe", b"a" * 300):
            assert await told(api, bad) == api.url, bad
            path = f"GET /nowhere HTTP/1.1\r\nConnection: close\r\nHost: {bad.decode('latin-1')}\r\n\r\n"
            assert b" 404 " in await send(api, path.encode("latin-1"))
    async with serving(deployment, links=Links("secret", "https://public.example")) as api:
        assert await told(api, b"evil.example") == "https://public.example"


async def test_nothing_that_a_caller_names_becomes_a_header(api: Api) -> None:
    evil = "a\r\nX-Evil: yes"
    for field in ("external_task_id", "callback_url", "model_name"):
        value = f"http://receiver.example{evil}/" if field == "callback_url" else evil
        answer = await api.alice.post(PATH, json=BODY | {field: value})
        assert answer.status_code in (400, 404)
        assert "x-evil" not in answer.headers
    for host in ("receiver.example%0d%0aX-Evil:%20yes", "receiver.example\u2028", "receiver.example\x85x"):
        answer = await api.alice.post(PATH, json=BODY | {"callback_url": f"http://{host}/hook"})
        assert answer.status_code in (200, 400), "a name that cannot be found is found out later"
    message = error(await api.alice.get(f"{PATH}/{quote(evil)}"), 404, 1202)
    assert "\r" not in message
    assert "\n" not in message
    for header, sent in (
        (b"X-Request-Id", b"a\tb"),
        (b"X-Request-Id", b"\xc3\xa4"),
        (b"Idempotency-Key", b"\xff\xfe\x80"),
        (b"Idempotency-Key", b"a\tb"),
        (b"Range", b"bytes=\xff"),
        (b"Prefer", b"wait=\xb2"),
        (b"Accept", b"\xff"),
    ):
        answer = await api.alice.post(PATH, json=BODY, headers=[(header, sent)])
        assert answer.status_code == 200, header
        assert sent not in [v for _, v in answer.headers.raw]
    assert "more than 255" in error(
        await api.alice.post(PATH, json=BODY, headers={"Idempotency-Key": "k" * 256}), 400, 1201
    )


async def test_one_odd_request_does_not_disturb_the_next(api: Api) -> None:
    async with connected(api) as (reader, writer):
        writer.write(
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n"
        )
        answers = await until_closed(reader)
        assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [404, 200], "and not 400 first"
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    async with connected(api) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 5), "nobody changes the protocol"
