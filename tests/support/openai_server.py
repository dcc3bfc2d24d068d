"""Strict model servers on real sockets, one kind per real server, which misbehave on request.

They refuse every field that the real server does not know. Their images depend on prompt, seed and all references.
"""

import asyncio
import base64
import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.support.sockets import listening, read_head

_TUNING_FIELDS = {"num_inference_steps", "guidance_scale"}
_EXTRA_FIELDS = {"response_format", "output_format", "seed", "generator_device", "negative_prompt"} | _TUNING_FIELDS
_BASE_FIELDS = {"model", "prompt", "n", "size"}
GENERATIONS = {
    "sglang": _BASE_FIELDS | _EXTRA_FIELDS,
    "vllm_omni": _BASE_FIELDS | _EXTRA_FIELDS,
    "xinference": _BASE_FIELDS | {"response_format", "kwargs"},
    "openai": _BASE_FIELDS | {"output_format", "quality"},
}
EDITS = GENERATIONS | {"xinference": _BASE_FIELDS | {"response_format"}}
FILE_PART_NAMES = {"sglang": "image[]", "vllm_omni": "image[]", "xinference": "image", "openai": "image[]"}
MASK_PART_NAMES = {"sglang": "", "vllm_omni": "mask_image", "xinference": "", "openai": "mask"}
REQUIRED = {"sglang": {"response_format"}, "vllm_omni": set(), "xinference": {"response_format"}, "openai": set()}


@dataclass
class Post:
    """A received request for images. `files` contains the bytes of the references, in order, and `mask` the mask."""

    path: str
    fields: dict[str, Any]
    files: list[bytes]
    mask: bytes
    headers: dict[str, str]


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class ModelServer:
    """The state of a server.

    Each POST takes the next fault from `faults`; when the list is empty, the server works. A fault is one of "cut",
    "hang", "half", "html", "garbage", "few", "huge", "address" and "large image", or a tuple of status, headers and
    error message such as (503, {}, "…"); an empty string is no fault. References after the first `max_references` are
    ignored. `usage` is the field `usage` of successful responses. `edit_error` is the status and the message of every
    answer of /edits. While `gate` is closed, POSTs wait. Each POST takes `delay_s` seconds. `paid` counts the images
    that were requested without a clear refusal, by prompt. `convert` receives each image as a PNG file, and returns the
    file that is sent.
    """

    kind: str
    model: str = "m"
    faults: list[Any] = field(default_factory=list)
    max_references: int = 100
    usage: Any = None
    edit_error: tuple[int, str] | None = None
    key: str = ""
    health: int = 200
    gate: asyncio.Event | None = None
    url: str = ""
    posts: list[Post] = field(default_factory=list)
    active: int = 0
    max_active: int = 0
    aborted: int = 0
    delay_s: float = 0.0
    paid: Counter[str] = field(default_factory=Counter)
    convert: Callable[[bytes], bytes] = bytes

    def paths(self) -> list[str]:
        return [post.path.removeprefix("/v1/images/") for post in self.posts]


@asynccontextmanager
async def serving(kind: str, **options: Any) -> AsyncIterator[ModelServer]:
    server = ModelServer(kind, **options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(server, reader, writer)

    async with listening(serve) as url:
        server.url = f"{url}/v1"
        yield server


async def _serve(server: ModelServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    method, path, headers = await read_head(reader)
    body = await read_body(reader, headers)
    if method == "GET":
        return await _get(server, path, headers, writer)
    post = Post(path, *parse_body(headers, body, FILE_PART_NAMES[server.kind], MASK_PART_NAMES[server.kind]), headers)
    server.posts.append(post)
    fault = server.faults.pop(0) if server.faults else ""
    server.active += 1
    server.max_active = max(server.max_active, server.active)
    try:
        if server.gate is not None:
            await _wait(server, reader)
        if not isinstance(fault, tuple):
            server.paid[str(post.fields.get("prompt"))] += int(post.fields.get("n", 1))
        await asyncio.sleep(server.delay_s)
        await _answer(server, post, fault, writer)
    finally:
        server.active -= 1


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


async def _wait(server: ModelServer, reader: asyncio.StreamReader) -> None:
    """Wait until the gate opens. If the client disconnects before, count it in `aborted` and raise OSError."""
    assert server.gate is not None
    opened, disconnected = asyncio.create_task(server.gate.wait()), asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait([opened, disconnected], return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            server.aborted += 1
            raise OSError("the client disconnected")
    finally:
        opened.cancel()
        disconnected.cancel()
        await asyncio.gather(opened, disconnected, return_exceptions=True)


async def _get(server: ModelServer, path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    if server.key and headers.get("authorization") != f"Bearer {server.key}" and path != "/health":
        return await send(writer, 401, {"error": {"message": "no", "code": "invalid_api_key"}})
    health_path = "/health" if server.kind in ("sglang", "vllm_omni") else "/v1/models"
    status = server.health if path in (health_path, "/v1/models") else 404
    owner = {"vllm_omni": "vllm"}.get(server.kind, server.kind)
    model = {"id": server.model, "owned_by": owner} | ({"model_type": "image"} if server.kind == "xinference" else {})
    return await send(writer, status, {"object": "list", "data": [model]} if status == 200 else {})


async def _answer(server: ModelServer, post: Post, fault: Any, writer: asyncio.StreamWriter) -> None:
    if fault == "cut":
        return writer.transport.abort()
    if fault == "hang":
        await asyncio.sleep(3600)
    if isinstance(fault, tuple):
        status, headers, message = fault
        error = message if isinstance(message, dict) else _error(server, message)
        return await send(writer, status, error, headers)
    if fault == "html":
        return await send(writer, 200, b"<html>Welcome</html>", {"Content-Type": "text/html"})
    if fault == "garbage":
        return await send(writer, 200, {"data": [{"b64_json": base64.b64encode(b"not an image").decode()}]})
    if fault == "address":
        return await send(writer, 200, {"data": [{"url": "/v1/images/1/content"}]})
    try:
        content = _generated(server, post, fault)
    except Refused as refused:
        return await send(writer, refused.status, _error(server, refused.message))
    if fault == "huge":
        return await send(writer, 200, b" " * 3_000_000)
    if fault == "half":
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:100])
        await writer.drain()
        return writer.transport.abort()
    return await send(writer, 200, content, {"Set-Cookie": "a=b"})


def _generated(server: ModelServer, post: Post, fault: Any) -> bytes:
    edit = post.path == "/v1/images/edits"
    if not edit and post.path != "/v1/images/generations":
        raise Refused(404, "Not Found")
    if server.key and post.headers.get("authorization") != f"Bearer {server.key}":
        raise Refused(401, "Incorrect API key provided")
    sent = post.fields
    if unknown := set(sent) - (EDITS if edit else GENERATIONS)[server.kind]:
        raise Refused(400, f"unknown fields: {', '.join(sorted(unknown))}")
    if missing := (_BASE_FIELDS | REQUIRED[server.kind]) - set(sent):
        raise Refused(400, f"missing: {', '.join(sorted(missing))}")
    if sent["model"] != server.model and server.kind != "sglang":
        raise Refused(400 if server.kind == "vllm_omni" else 404, f"Model not found: {sent['model']}")
    if sent.get("response_format", "b64_json") != "b64_json" or sent.get("output_format", "png") != "png":
        raise Refused(400, "wrong format")
    count = int(sent["n"])
    if not 1 <= count <= 10 or (not edit and not isinstance(sent["n"], int)):
        raise Refused(400, "n must be from 1 to 10")
    width, height = map(int, str(sent["size"]).split("x"))
    if (
        width % 16
        or height % 16
        or (server.kind == "openai" and (max(width, height) > 3840 or width * height > 8294400))
    ):
        raise Refused(400, f"Invalid size {sent['size']}")
    if edit and not post.files:
        raise Refused(422, f"Field '{FILE_PART_NAMES[server.kind]}' is required")
    if edit and server.edit_error:
        raise Refused(*server.edit_error)
    for content in post.files:
        Image.open(io.BytesIO(content)).load()
    if post.mask and Image.open(io.BytesIO(post.mask)).size != Image.open(io.BytesIO(post.files[0])).size:
        raise Refused(400, "The mask and the image must have the same size")
    seed = sent.get("seed", json.loads(sent.get("kwargs", "{}")).get("seed"))
    if server.kind in ("sglang", "vllm_omni"):
        seed = int(seed)
    elif seed is None:
        seed = random.getrandbits(40)
    if fault == "large image":
        buffer = io.BytesIO()
        Image.new("L", (10_000, 9_000)).save(buffer, "PNG", compress_level=1)
        return json.dumps({"data": [{"b64_json": base64.b64encode(buffer.getvalue()).decode()}]}).encode()
    references = b"".join(post.files[: server.max_references])
    images = [
        generated_file(f"{sent['prompt']} {seed + k} ".encode() + references, width, height) for k in range(count)
    ]
    data = [
        {"b64_json": base64.b64encode(server.convert(image)).decode(), "revised_prompt": sent["prompt"]}
        for image in images
    ]
    return json.dumps({"created": 1, "data": data[1:] if fault == "few" else data, "usage": server.usage}).encode()


def generated_file(content: bytes, width: int, height: int) -> bytes:
    """An image file whose pixels depend on `content`."""
    noise = np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:8], "big"))
    small = Image.fromarray(noise.integers(0, 256, (4, 4, 3), np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def parse_body(
    headers: dict[str, str], body: bytes, part_name: str, mask_name: str
) -> tuple[dict[str, Any], list[bytes], bytes]:
    """The fields, files and mask of a JSON or multipart body. A file in another part is an unknown field."""
    media, _, boundary = headers["content-type"].partition("; boundary=")
    if media == "application/json":
        return json.loads(body), [], b""
    assert media == "multipart/form-data"
    fields: dict[str, Any] = {}
    files, mask = [], b""
    for part in body.split(b"--" + boundary.encode())[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        name = head.split(b'name="')[1].split(b'"')[0].decode()
        if b"filename=" in head and name == mask_name:
            mask = content
        elif b"filename=" in head:
            files.append(content)
            if name != part_name:
                fields[name] = "a file"
        else:
            fields[name] = content.decode()
    return fields, files, mask


def _error(server: ModelServer, message: str) -> dict[str, Any]:
    if server.kind == "openai":
        return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return {"detail": message}


async def send(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
    writer.write(
        f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
    )
    await writer.drain()
