"""A stand-in for fal's queue, storage and file server on a real socket. It is strict, and it misbehaves on request."""

import asyncio
import base64
import io
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from PIL import Image

from tests.support.gemini_server import misbehave, random_image, send
from tests.support.sockets import listening, read_head

_ARGUMENTS = {"prompt", "negative_prompt", "image_size", "num_images", "seed", "image_urls", "aspect_ratio", "loras"}
MISBEHAVIOURS = ("cut", "hang", "html", "list", "endless")


@dataclass
class FalRequest:
    """A request that the queue accepted. It is in the queue for `polls` queries. `images` contains their URLs."""

    id: str
    model: str
    arguments: dict[str, Any]
    files: list[bytes]
    webhook: str
    polls: int
    cancelled: bool = False
    images: list[str] = field(default_factory=list)

    @property
    def app(self) -> str:
        return "/".join(self.model.split("/")[:2])


@dataclass
class FalServer:
    """The state of the server.

    `fault` returns the fault of a step, or an empty string: the steps are "submit", "status", "result", "image",
    "initiate", "put" and "cancel". A fault is one of MISBEHAVIOURS or "half"; a tuple of status, headers and body,
    which is sent instead of the answer; or "late cut", after which a submitted request is processed. `change` changes
    the results. `units` is the header with the billed units of a result, or None to send no such header. While `gate`
    is closed, no request ends. While `submit_gate` is closed, no submit is answered. `paid` counts the images that were
    requested without a clear refusal, by prompt.
    """

    key: str = "id-1:s3cret"
    fault: Callable[[str], Any] = lambda step: ""
    change: Callable[[dict[str, Any]], Any] = lambda result: result
    polls: int = 1
    units: str | None = None
    gate: asyncio.Event | None = None
    submit_gate: asyncio.Event | None = None
    url: str = ""
    foreign_urls: bool = False
    requests: dict[str, FalRequest] = field(default_factory=dict)
    submits: int = 0
    uploads: dict[str, bytes] = field(default_factory=dict)
    upload_headers: list[dict[str, str]] = field(default_factory=list)
    image_headers: list[dict[str, str]] = field(default_factory=list)
    cancels: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)
    paid: Counter[str] = field(default_factory=Counter)

    @property
    def arguments(self) -> list[dict[str, Any]]:
        return [request.arguments for request in self.requests.values()]

    def store(self, content: bytes) -> str:
        """Store a file on the file server, and return its URL."""
        path = f"/files/{next(self.numbers)}.png"
        self.files[path] = content
        return f"{self.url}{path}"


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[FalServer]:
    server = FalServer(**options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, headers = await read_head(reader)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        await _serve(server, method, target, headers, body, writer)

    async with listening(serve) as server.url:
        yield server


async def _serve(
    server: FalServer, method: str, target: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
) -> None:
    path, _, query = target.partition("?")
    step = _step(method, path)
    fault = server.fault(step)
    if step == "submit":
        server.submits += 1
        if not isinstance(fault, tuple):
            arguments = json.loads(body)
            server.paid[arguments["prompt"]] += arguments.get("num_images", 1)
        if server.submit_gate is not None:
            await server.submit_gate.wait()
    if fault in MISBEHAVIOURS:
        return await misbehave(fault, writer)
    if isinstance(fault, tuple):
        return await send(writer, fault[0], fault[2], fault[1])
    if step in ("put", "image"):
        assert "authorization" not in headers, "the key was sent to another service"
    elif headers.get("authorization") != f"Key {server.key}":
        return await send(writer, 401, {"detail": "Cannot access application 'x'. Authentication is required."})
    status, answer = await _answer(server, step, path, query, headers, body)
    if fault == "late cut":
        return writer.transport.abort()
    if fault == "half":
        content = json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[:20])
        await writer.drain()
        return writer.transport.abort()
    units = {} if step != "result" or server.units is None else {"x-fal-billable-units": server.units}
    return await send(writer, status, answer, units)


def _step(method: str, path: str) -> str:
    if path.startswith("/files/"):
        return "image"
    if path.startswith("/upload/"):
        return "put"
    if path == "/storage/upload/initiate":
        return "initiate"
    if method == "PUT" and path.endswith("/cancel"):
        return "cancel"
    if method == "GET" and "/requests/" in path:
        return "status" if path.endswith("/status") else "result"
    return "submit" if method == "POST" else "unknown"


async def _answer(
    server: FalServer, step: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> tuple[int, Any]:
    match step:
        case "image":
            server.image_headers.append(headers)
            return (200, server.files[path]) if path in server.files else (404, b"")
        case "initiate":
            asked = json.loads(body)
            assert set(asked) == {"content_type", "file_name"}
            assert query == "storage_type=fal-cdn-v3"
            name = f"{len(server.uploads)}-{asked['file_name']}"
            return 200, {"upload_url": f"{server.url}/upload/{name}", "file_url": f"https://v3.fal.media/{name}"}
        case "put":
            server.uploads[f"https://v3.fal.media/{path.removeprefix('/upload/')}"] = body
            server.upload_headers.append(headers)
            return 200, b""
        case "submit":
            return _submit(server, path, query, body)
        case _:
            app, _, rest = path.removeprefix("/").partition("/requests/")
            request = server.requests.get(rest.partition("/")[0])
            if request is None or request.app != app:
                return 404, {"detail": "Request not found"}
            return await _query(server, step, request)


def _submit(server: FalServer, path: str, query: str, body: bytes) -> tuple[int, Any]:
    arguments, model = json.loads(body), path.removeprefix("/")
    if unknown := set(arguments) - _ARGUMENTS:
        return 422, {
            "detail": [{"loc": ["body", sorted(unknown)[0]], "msg": "unknown field", "type": "extra_forbidden"}]
        }
    if model.endswith("/edit") != bool(arguments.get("image_urls")):
        return 422, {
            "detail": [{"loc": ["body", "image_urls"], "msg": "wrong number of images", "type": "value_error"}]
        }
    assert isinstance(arguments.get("seed", 0), int)
    files = [_file(server, url) for url in arguments.get("image_urls", [])]
    id = f"0f6c-{next(server.numbers)}"
    webhook = parse_qs(query).get("fal_webhook", [""])[0]
    request = FalRequest(id, model, arguments, files, webhook, server.polls)
    server.requests[id] = request
    origin = "https://queue.fal.example" if server.foreign_urls else server.url
    base = f"{origin}/{request.app}/requests/{id}"
    return 200, {
        "status": "IN_QUEUE",
        "request_id": id,
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "queue_position": 0,
    }


def _file(server: FalServer, url: str) -> bytes:
    """The content of an argument: a data URL, or the URL of an uploaded file."""
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        content = base64.b64decode(data, validate=True)
        assert head == f"data:{Image.open(io.BytesIO(content)).get_format_mimetype()};base64"
        return content
    return server.uploads[url]


async def _query(server: FalServer, step: str, request: FalRequest) -> tuple[int, Any]:
    if step == "cancel":
        server.cancels.append(request.id)
        request.cancelled = True
        return 202, {"status": "CANCELLATION_REQUESTED"}
    ended = request.polls <= 0 and (server.gate is None or server.gate.is_set())
    if step == "status":
        request.polls -= 1
        state = "COMPLETED" if ended else "IN_PROGRESS" if request.polls <= 0 else "IN_QUEUE"
        return (200 if ended else 202), {"status": state, "request_id": request.id, "logs": None}
    if not ended:
        return 400, {"detail": "Request is still in progress"}
    if "refuse" in request.arguments["prompt"]:
        return 422, {
            "detail": [
                {
                    "loc": ["body", "prompt"],
                    "msg": f"The content could not be processed: {request.arguments['prompt']}",
                    "type": "content_policy_violation",
                    "input": request.arguments,
                }
            ]
        }
    size = request.arguments.get("image_size", {"width": 1024, "height": 1024})
    count = request.arguments.get("num_images", 1)
    if not request.images:
        request.images = [server.store(random_image(size["width"], size["height"])) for _ in range(count)]
    result = {
        "images": [{"url": url, **size, "content_type": "image/png"} for url in request.images],
        "seed": 7,
        "has_nsfw_concepts": [False] * count,
        "prompt": request.arguments["prompt"],
    }
    return 200, server.change(result)
