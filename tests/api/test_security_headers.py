"""Security headers of every response, request smuggling, path traversal, host headers and header injection."""

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
    """Send the bytes of one request on a new connection. Returns all bytes that arrive until the server closes it."""
    async with connected(api) as (reader, writer):
        writer.write(request)
        return await until_closed(reader, seconds=seconds)


async def generate_image(api: Api) -> str:
    api.deployment.start_worker()
    task = await api.create()
    return str((await api.wait_for_task(task["task_id"]))["task_result"]["images"][0]["url"])


async def test_every_response_has_security_headers(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    cached, revalidated, not_stored = "private, max-age=", "no-cache", "no-store"
    answers = [
        (await api.alice.get(PATH), not_stored),
        (await api.alice.post(PATH, json=BODY), not_stored),
        (await api.alice.get("/v1/account"), not_stored),
        (await api.alice.get(PRESETS), not_stored),
        (await api.anonymous.get(PATH), not_stored),
        (await api.anonymous.get("/nowhere"), not_stored),
        (await api.anonymous.delete(PATH), not_stored),
        (await api.anonymous.get("/images/x"), not_stored),
        (await api.anonymous.post("/hasten/1/x"), not_stored),
        (await api.anonymous.get("/healthz"), not_stored),
        (await api.anonymous.get("/readyz"), not_stored),
        (await api.anonymous.get("/metrics"), not_stored),
        (await api.anonymous.get("/openapi.json"), not_stored),
        (await api.anonymous.get("/console/config.json"), revalidated),
        (await api.anonymous.get("/"), revalidated),
        (await api.anonymous.get("/console/app.js"), revalidated),
        (await api.anonymous.get("/console/icon.svg"), revalidated),
        (await api.anonymous.get("/docs"), revalidated),
        (await api.anonymous.get("/docs/index.html"), revalidated),
        (await api.anonymous.get("/docs/start.js"), revalidated),
        (await api.anonymous.get("/docs/nothing.js"), not_stored),
        (await api.anonymous.get("/presets/nothing.webp"), not_stored),
        (await api.anonymous.get(await generate_image(api)), cached),
    ]
    with monkeypatch.context() as patch:
        patch.setattr("framehouse.adapters.postgres.task_store.list_tasks", None)
        answers.append((await api.alice.get(PATH), not_stored))
        assert answers[-1][0].status_code == 500
    for answer, cache_control in answers:
        headers, description = answer.headers, f"{answer.request.url} {answer.headers}"
        sent = [name for name, _ in headers.multi_items()]
        assert len(sent) == len(set(sent)), description
        assert headers["x-content-type-options"] == "nosniff", description
        assert headers["referrer-policy"] == "no-referrer", description
        assert headers["cache-control"].startswith(cache_control), description
        assert "server" not in headers, description
        if not headers["content-type"].startswith("image/png"):
            assert "default-src '" in headers["content-security-policy"], description
            assert "frame-ancestors 'none'" in headers["content-security-policy"], description
    html_policies = [a.headers["content-security-policy"] for a, _ in answers if "html" in a.headers["content-type"]]
    assert len(html_policies) == 3
    assert not any("script-src 'unsafe" in policy for policy in html_policies)


async def test_ambiguous_requests_are_refused(api: Api) -> None:
    """Some servers read each of these as one request and other servers as two; a proxy may be one of them."""
    key = api.alice.headers["authorization"]
    start = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\n".encode()
    length, chunked, end = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n0\r\n\r\n"
    requests = {
        "both length and coding": start + length + chunked + end,
        "both coding and length": start + chunked + length + end,
        "two lengths": start + length + b"Content-Length: 4\r\n\r\n{} ",
        "the same length twice": start + length + length + b"\r\n{} ",
        "a list of lengths": start + b"Content-Length: 3, 3\r\n\r\n{} ",
        "a signed length": start + b"Content-Length: +3\r\n\r\n{} ",
        "a negative length": start + b"Content-Length: -3\r\n\r\n{} ",
        "a length of 40 digits": start + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{} ",
        "a space before the colon": start + b"Transfer-Encoding : chunked\r\n" + end,
        "an unknown coding": start + b"Transfer-Encoding: xchunked\r\n" + end,
        "chunked is not the last coding": start + b"Transfer-Encoding: chunked, gzip\r\n" + end,
        "a control character in the coding": start + b"Transfer-Encoding: \x0bchunked\r\n" + end,
        "chunked twice": start + chunked + chunked + end,
        "a folded header": start + b"X-A: b\r\n Transfer-Encoding: chunked\r\n" + end,
        "bare line feeds": start.replace(b"\r\n", b"\n") + b"\n",
        "a bare carriage return": start + b"X-A: b\rX-B: c\r\n\r\n",
        "a null in a header": start + b"X-A: b\0c\r\n\r\n",
        "a chunk that is shorter than its size": start + chunked + b"\r\n5\r\n{}\r\n0\r\n\r\n",
        "a chunk of negative size": start + chunked + b"\r\n-2\r\n{}\r\n0\r\n\r\n",
        "a chunk size of 20 digits": start + chunked + b"\r\n" + b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n",
        "two Host headers": start + b"Host: y\r\n\r\n",
        "an unknown method": b"NONE / HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a tunnel": b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        "a URL without a path": b"GET http://evil HTTP/1.1\r\nHost: x\r\n\r\n",
        "a path that is not ASCII": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    for description, request in requests.items():
        answer = await send(api, request)
        assert answer.count(b"HTTP/1.1 ") == 1, description
        assert refusal(answer) == (400, 1200), description
    assert (await api.alice.get(PATH)).json()["data"] == []


async def test_unusual_request_targets_open_no_other_files_and_redirect_nowhere(api: Api) -> None:
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


async def test_a_signature_is_valid_only_for_its_own_image(api: Api) -> None:
    url = urlsplit(await generate_image(api))
    other_url = (await api.wait_for_task((await api.create())["task_id"]))["task_result"]["images"][0]["url"]
    image_path, other_path = url.path, urlsplit(other_url).path
    folder, _, name = image_path.rpartition("/")
    await api.deployment.storage.put("secret.png", b"secret")
    for path in (
        other_path,
        f"{folder}/..%2f{other_path.split('/', 2)[2]}",
        f"{folder}/../{other_path.split('/', 2)[2]}",
        f"{folder}/%2e%2e/%2e%2e/secret.png",
        "/images/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/images/../secret.png",
        "/references/..%2fsecret.png",
        "/references" + image_path.removeprefix("/images"),
        "//images" + image_path.removeprefix("/images"),
        image_path + "%00",
        image_path + "%0a",
        image_path + "/",
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
        assert answer.status_code == 404, "a valid signature does not open files that are not images"


async def test_only_a_valid_host_header_is_used_in_urls_and_only_for_its_own_request(
    make_deployment: MakeDeployment,
) -> None:
    async def base_url(api: Api, host: bytes) -> str:
        """Send a request with this Host header, and return the start of an image URL of the response."""
        key = api.alice.headers["authorization"].encode()
        head = b"Connection: close\r\nAuthorization: " + key + b"\r\nHost: " + host
        body = (await send(api, f"GET {PRESETS} HTTP/1.1\r\n".encode() + head + b"\r\n\r\n")).partition(b"\r\n\r\n")[2]
        element = json.loads(body)["data"][0]["task_result"]["elements"][0]
        return str(element["element_image_list"]["frontal_image"]).partition("/presets/")[0]

    deployment = await make_deployment()
    async with serving(deployment) as api:
        for host in ("framehouse.example", "host_1:8000", "[::1]:8000", "127.0.0.1"):
            assert await base_url(api, host.encode()) == f"http://{host}"
        for bad in (b"", b"a b", b'a"><script>', b"a/b", b"a?b#c", b"user@a", b"[::1", b"a:b", b"\xff\xfe", b"a" * 300):
            assert await base_url(api, bad) == api.url, bad
            path = f"GET /nowhere HTTP/1.1\r\nConnection: close\r\nHost: {bad.decode('latin-1')}\r\n\r\n"
            assert b" 404 " in await send(api, path.encode("latin-1"))
    async with serving(deployment, links=Links("secret", "https://public.example")) as api:
        assert await base_url(api, b"evil.example") == "https://public.example"


async def test_callers_cannot_inject_response_headers(api: Api) -> None:
    evil = "a\r\nX-Evil: yes"
    for field in ("external_task_id", "callback_url", "model_name"):
        value = f"http://receiver.example{evil}/" if field == "callback_url" else evil
        answer = await api.alice.post(PATH, json=BODY | {field: value})
        assert answer.status_code in (400, 404)
        assert "x-evil" not in answer.headers
    for host in ("receiver.example%0d%0aX-Evil:%20yes", "receiver.example\u2028", "receiver.example\x85x"):
        answer = await api.alice.post(PATH, json=BODY | {"callback_url": f"http://{host}/hook"})
        assert answer.status_code in (200, 400), "host names are resolved later"
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


async def test_a_bad_request_does_not_affect_other_requests_of_its_connection(api: Api) -> None:
    async with connected(api) as (reader, writer):
        writer.write(
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n"
        )
        answers = await until_closed(reader)
        assert [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]] == [404, 200], (
            "the valid requests are answered"
        )
    upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    async with connected(api) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
        assert b" 200 " in await asyncio.wait_for(reader.readline(), 60), "the upgrade is ignored"
