"""A stand-in for the Gemini API on a real socket. It is strict, and it misbehaves on request."""

import asyncio
import base64
import io
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from tests.support.sockets import listening, read_head

_PATH = re.compile(r"/v1beta/models/([\w.-]+)(:generateContent)?")
_MAX_BODY = 20_000_000
_SIZES = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
_SCALES = {"1K": 1, "2K": 2, "4K": 4}


@dataclass
class GeminiPost:
    """A received request for an image. `files` contains the references in order."""

    body: dict[str, Any]
    prompt: str
    files: list[bytes]
    headers: dict[str, str]

    @property
    def image_config(self) -> dict[str, str]:
        config: dict[str, str] = self.body["generationConfig"]["imageConfig"]
        return config


@dataclass
class GeminiServer:
    """The state of the server.

    Each request for an image takes the next fault from `faults`; when the list is empty, the server works. A fault is a
    name (see `_misbehave`), a tuple of status, headers and body, or a function that changes the answer; an empty string
    is no fault. While `gate` is closed, requests wait. Each request takes `delay_s` seconds. `paid` counts the images
    that were requested without a clear refusal, by prompt.
    """

    model: str = "gemini-3-pro-image-preview"
    key: str = "k-3y"
    faults: list[Any] = field(default_factory=list)
    health: tuple[int, Any] | None = None
    gate: asyncio.Event | None = None
    url: str = ""
    posts: list[GeminiPost] = field(default_factory=list)
    active: int = 0
    max_active: int = 0
    aborted: int = 0
    delay_s: float = 0.0
    paid: Counter[str] = field(default_factory=Counter)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[GeminiServer]:
    server = GeminiServer(**options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(server, reader, writer)

    async with listening(serve) as url:
        server.url = f"{url}/v1beta"
        yield server


async def _serve(server: GeminiServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    method, path, headers = await read_head(reader)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    match = _PATH.fullmatch(path)
    if headers.get("x-goog-api-key") != server.key or "authorization" in headers:
        return await send(writer, 400, error(400, "INVALID_ARGUMENT", "API key not valid.", _reason("API_KEY_INVALID")))
    if match is None or match[1] != server.model:
        return await send(writer, 404, error(404, "NOT_FOUND", f"models/{path} is not found"))
    if method == "GET":
        status, answer = server.health or (200, {"name": f"models/{server.model}"})
        return await send(writer, status, answer)
    fault = server.faults.pop(0) if server.faults else ""
    server.active += 1
    server.max_active = max(server.max_active, server.active)
    try:
        problem, post = _parse(server, body, headers)
        server.posts.append(post)
        if server.gate is not None:
            server.aborted += not await gate_opened(server.gate, reader)
        if problem:
            return await send(writer, 400, error(400, "INVALID_ARGUMENT", problem))
        server.paid[post.prompt] += not isinstance(fault, tuple)
        await asyncio.sleep(server.delay_s)
        await _answer(server, post, fault, writer)
    finally:
        server.active -= 1


async def gate_opened(gate: asyncio.Event, reader: asyncio.StreamReader) -> bool:
    """Wait until the gate opens, or until the client disconnects. Returns whether the gate opened."""
    opened, disconnected = asyncio.create_task(gate.wait()), asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait([opened, disconnected], return_when=asyncio.FIRST_COMPLETED)
        return opened.done()
    finally:
        opened.cancel()
        disconnected.cancel()
        await asyncio.gather(opened, disconnected, return_exceptions=True)


def _parse(server: GeminiServer, body: bytes, headers: dict[str, str]) -> tuple[str, GeminiPost]:
    """The problem with a request, or an empty string; and the request."""
    sent = json.loads(body)
    (content,) = sent["contents"]
    *images, text = content["parts"]
    files = [base64.b64decode(part["inlineData"]["data"], validate=True) for part in images]
    types = [Image.open(io.BytesIO(file)).get_format_mimetype() for file in files]
    config = sent["generationConfig"]
    image_config = config["imageConfig"]
    problem = ""
    if set(sent) != {"contents", "generationConfig"} or set(config) != {"responseModalities", "imageConfig"}:
        problem = "unknown fields"
    elif headers["content-type"] != "application/json" or len(body) > _MAX_BODY:
        problem = "the request is too large or has a wrong type"
    elif [part["inlineData"]["mimeType"] for part in images] != types:
        problem = "wrong mimeType"
    elif (
        config["responseModalities"] != ["IMAGE"]
        or content["role"] != "user"
        or image_config["aspectRatio"] not in _SIZES
    ):
        problem = "invalid value"
    elif set(image_config) - {"aspectRatio", "imageSize"} or image_config.get("imageSize", "1K") not in _SCALES:
        problem = "invalid imageConfig"
    elif "imageSize" in image_config and server.model.startswith("gemini-2.5"):
        problem = "imageSize is not supported by this model"
    return problem, GeminiPost(sent, text["text"], files, headers)


async def _answer(server: GeminiServer, post: GeminiPost, fault: Any, writer: asyncio.StreamWriter) -> None:
    if isinstance(fault, tuple):
        status, headers, content = fault
        return await send(writer, status, content, headers)
    if isinstance(fault, str) and fault in ("cut", "hang", "html", "list", "endless"):
        return await misbehave(fault, writer)
    answer = image_answer(server.model, [image_part(_image(post))])
    if callable(fault):
        answer = fault(answer)
    content = json.dumps(answer).encode()
    if fault == "half":
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:100])
        await writer.drain()
        return writer.transport.abort()
    return await send(writer, 200, content, {"Set-Cookie": "a=b"})


async def misbehave(fault: str, writer: asyncio.StreamWriter) -> None:
    match fault:
        case "cut":
            writer.transport.abort()
        case "hang":
            await asyncio.sleep(3600)
        case "html":
            await send(writer, 200, b"<html>Welcome</html>", {"Content-Type": "text/html"})
        case "list":
            await send(writer, 200, [1, 2, {}])
        case "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            while True:
                writer.write(b" " * 65_536)
                await writer.drain()


def image_part(file: bytes, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(file).decode()}, **more}


def image_answer(model: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 1290,
            "totalTokenCount": 1298,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        },
        "modelVersion": model,
        "responseId": "r",
    }


def error(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


def _reason(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def _image(post: GeminiPost) -> bytes:
    """An image file of the requested size, with random colours, because the API does not support seeds."""
    width, height = _SIZES[post.image_config["aspectRatio"]]
    scale = _SCALES[post.image_config.get("imageSize", "1K")]
    return random_image(width * scale, height * scale)


def random_image(width: int, height: int) -> bytes:
    noise = np.random.default_rng(random.getrandbits(60)).integers(0, 256, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


async def send(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    writer.write(
        f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
    )
    await writer.drain()
