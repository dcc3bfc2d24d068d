"""Strict stand-ins for the services of the recipes in docs/engines, on real sockets.

Each service refuses every field that the real service does not document, and requires the real service's key header.
"""

import asyncio
import base64
import io
import random
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from tests.support.openai_server import generated_file, parse_body, read_body, send
from tests.support.prose import ROOT
from tests.support.sockets import listening, read_head

KEY = "s3cret-key"
PAGES = {
    "seedream": "seedream.md",
    "azure": "azure.md",
    "xai": "xai.md",
    "zhipu": "zhipu.md",
    "litellm": "litellm.md",
    "aquiles": "aquiles-image.md",
}
_XAI_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "19.5:9", "9:19.5", "20:9", "9:20")
_AQUILES_SIZES = ("1024x1024", "1536x1024", "1024x1536", "256x256", "512x512", "1792x1024", "1024x1792")
_ZHIPU_SIZES = ("1280x1280", "1568x1056", "1056x1568", "1472x1088", "1088x1472", "1728x960", "960x1728")
_GPT_IMAGE_SIZES = ("1024x1024", "1536x1024", "1024x1536")


@dataclass(frozen=True)
class Service:
    """The API of a service.

    `base`: the path and the query of the base URL. `fields`: the fields of JSON requests. `form_fields`: the fields of
    form requests. `part`: the name of the form part that contains a reference. `answers`: the supported values of
    `response_format`; the first is the default.
    """

    base: str
    fields: frozenset[str]
    form_fields: frozenset[str] = frozenset()
    part: str = ""
    answers: tuple[str, ...] = ("url", "b64_json")
    key_header: str = "authorization"
    health_path: str = ""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SERVICES = {
    "seedream": Service(
        "/api/v3",
        _names(
            "model prompt image size response_format watermark sequential_image_generation "
            "sequential_image_generation_options"
        ),
    ),
    "azure": Service(
        "/openai/deployments/my-image?api-version=2025-04-01-preview",
        _names("model prompt n size quality output_format"),
        _names("model prompt n size quality output_format"),
        "image[]",
        ("b64_json",),
        "api-key",
    ),
    "xai": Service("/v1", _names("model prompt n image images aspect_ratio resolution response_format")),
    "zhipu": Service("/api/paas/v4", _names("model prompt size quality watermark_enabled user_id"), answers=("url",)),
    "litellm": Service(
        "/v1",
        _names("model prompt n size quality output_format"),
        _names("model prompt n size quality output_format"),
        "image",
        ("b64_json",),
        health_path="/health/liveliness",
    ),
    "aquiles": Service(
        "",
        _names("model prompt n size response_format output_format quality"),
        _names("model prompt n size response_format output_format quality"),
        "image[]",
        health_path="/health",
    ),
    # a service that accepts what a route without further options sends
    "plain": Service(
        "/v1",
        _names("model prompt n size response_format"),
        _names("model prompt n size response_format"),
        "image[]",
        ("b64_json", "url"),
        health_path="/v1/models",
    ),
}


@dataclass
class Request:
    """A received request for images. `references` contains the files of the references, in order."""

    path: str
    fields: dict[str, Any]
    references: list[bytes]
    mask: bytes
    headers: dict[str, str]


Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@dataclass
class CompatibleServer:
    """The state of a stand-in, which has one model.

    Each request for images takes the next fault from `faults`; when the list is empty, the service works. A fault is
    a tuple of status, headers and body, a function that changes the entries of a successful response, or "cut"; None is
    no fault. `files` contains the downloadable images by path. A value is the status and the body of each download.
    Each download takes the next status from `file_faults` instead, until the list is empty. `usage` is the field
    `usage` of successful responses, and `headers` contains their additional headers. By default, a response contains
    the usage and the headers of the real service. Each request for images takes `delay_s` seconds. `paid` counts the
    images that were generated, by prompt.
    """

    service: Service
    model: str = "m"
    url: str = ""
    faults: list[Any] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    file_faults: list[int] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    health_requests: list[str] = field(default_factory=list)
    health: int = 200
    active: int = 0
    max_active: int = 0
    delay_s: float = 0.0
    paid: Counter[str] = field(default_factory=Counter)
    usage: Any = None
    headers: dict[str, str] | None = None

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def fields(self, name: str) -> list[Any]:
        return [request.fields.get(name) for request in self.requests]


def recipe(name: str, url: str) -> dict[str, Any]:
    """The options of a recipe in the docs, with the URL, the model and the key of a stand-in."""
    if name == "plain":
        return {"kind": "compatible", "base_urls": [url], "model": "m", "api_key": KEY, "max_references": 4}
    page = (ROOT / "docs" / "engines" / PAGES[name]).read_text()
    (route,) = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])["models"]["kling-v3-omni"]["routes"]
    assert route.pop("engine") == "openai_images"
    documented, used = (urlsplit(address) for address in (*route["base_urls"], url))
    if name != "azure":
        assert documented.path == used.path
    assert documented.query == used.query
    return {**route, "base_urls": [url], "model": "m", "api_key": KEY}


class Refused(Exception):
    pass


@asynccontextmanager
async def serving(name: str, **options: Any) -> AsyncIterator[CompatibleServer]:
    server = CompatibleServer(SERVICES[name], **options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, headers = await read_head(reader)
        body = await read_body(reader, headers)
        if method == "GET":
            return await _get(server, target, headers, writer)
        server.active += 1
        server.max_active = max(server.max_active, server.active)
        try:
            status, extra, content = _post(server, target, headers, body)
            await asyncio.sleep(server.delay_s)
        finally:
            server.active -= 1
        if not status:
            return writer.transport.abort()
        return await send(writer, status, content, extra)

    async with listening(serve) as url:
        server.url = url + server.service.base
        yield server


async def _get(server: CompatibleServer, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
    if target in server.files:
        server.downloads.append(target)
        assert not {"authorization", "api-key", "x-api-key"} & headers.keys(), "the key was sent with a download"
        status, content = server.files[target]
        return await send(writer, server.file_faults.pop(0) if server.file_faults else status, content)
    server.health_requests.append(target)
    return await send(writer, server.health if target == server.service.health_path else 404, {"data": []})


def _post(server: CompatibleServer, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, Any]:
    service = server.service
    base, _, query = service.base.partition("?")
    fields, files, mask = parse_body(headers, body, service.part, "mask" if service.part else "")
    is_form = not headers["content-type"].startswith("application/json")
    references = files if is_form else _json_references(service, fields)
    path, _, sent_query = target.partition("?")
    server.requests.append(Request(path.removeprefix(base), fields, references, mask, headers))
    fault = server.faults.pop(0) if server.faults else None
    if isinstance(fault, tuple):
        status, extra, content = fault
        return status, extra, content
    try:
        if sent_query != query or not path.startswith(f"{base}/images/"):
            raise Refused(f"no such path: {target}")
        expected = f"Bearer {KEY}" if service.key_header == "authorization" else KEY
        if headers.get(service.key_header) != expected:
            return 401, {}, {"error": {"message": "no", "code": "invalid_api_key"}}
        data = _data(server, fields, references, is_form=is_form, edit=path.endswith("/edits"))
    except Refused as refused:
        return 400, {}, {"error": {"message": str(refused), "code": "invalid_request"}}
    server.paid[fields["prompt"]] += len(data)
    if fault == "cut":
        return 0, {}, b""
    usage, extra = _bill(service, len(data))
    usage = usage if server.usage is None else server.usage
    extra = extra if server.headers is None else server.headers
    return 200, extra, {"created": 1, "data": fault(data) if fault else data, "usage": usage}


def _bill(service: Service, images: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The field `usage`, and the additional headers, of a response with this number of images."""
    tokens = {
        "input_tokens": 20,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
        "output_tokens": 1056 * images,
        "total_tokens": 20 + 1056 * images,
    }
    if service is SERVICES["xai"]:
        return {"cost_in_usd_ticks": 200_000_000 * images}, {}
    if service is SERVICES["litellm"]:
        return tokens, {"x-litellm-response-cost": f"{0.0423 * images}", "x-litellm-call-id": "c"}
    if service is SERVICES["seedream"]:
        return {"generated_images": images, "output_tokens": 16_384 * images, "total_tokens": 16_384 * images}, {}
    return (tokens if service is SERVICES["azure"] else {}), {}


def _json_references(service: Service, fields: dict[str, Any]) -> list[bytes]:
    sent = fields.get("images", fields.get("image", []))
    entries = sent if isinstance(sent, list) else [sent]
    urls = [entry["url"] if isinstance(entry, dict) else entry for entry in entries]
    return [base64.b64decode(url.partition(",")[2] or url, validate=True) for url in urls]


def _data(
    server: CompatibleServer, fields: dict[str, Any], references: list[bytes], *, is_form: bool, edit: bool
) -> list[dict[str, Any]]:
    service = server.service
    if unknown := set(fields) - (service.form_fields if is_form else service.fields):
        raise Refused(f"unknown fields: {', '.join(sorted(unknown))}")
    if fields.get("model") != server.model or not fields.get("prompt"):
        raise Refused("model and prompt are required")
    if is_form != edit and service.part:
        raise Refused("edits are forms, and generations are JSON")
    for content in references:
        Image.open(io.BytesIO(content)).load()
    answer = fields.get("response_format", service.answers[0])
    if answer not in service.answers:
        raise Refused(f"response_format {answer} is not supported")
    width, height = _size(service, fields, edit=edit, references=len(references))
    seed = random.getrandbits(40)
    series = fields.get("sequential_image_generation_options", {}).get("max_images", 1)
    if series > 1 and series + len(references) > 15:
        raise Refused("at most 15 images")
    data = []
    for number in range(int(fields.get("n", series))):
        file = generated_file(f"{fields['prompt']} {seed + number}".encode(), width, height)
        if answer == "b64_json":
            data.append({"b64_json": base64.b64encode(file).decode()})
            continue
        path = f"/files/{len(server.files)}.png"
        server.files[path] = (200, file)
        data.append({"url": server.url.partition("/api")[0].removesuffix("/v1") + path})
    return data


def _size(service: Service, fields: dict[str, Any], *, edit: bool, references: int) -> tuple[int, int]:
    """The size of the images. Small numbers stand for large sizes, so that tests are fast."""
    if service is SERVICES["xai"]:
        if edit != bool(references) or references > 3 or isinstance(fields.get("images"), list) != (references > 1):
            raise Refused("edits need image or images")
        ratio = fields.get("aspect_ratio")
        if ratio not in _XAI_RATIOS or fields.get("resolution") not in ("1k", "2k"):
            raise Refused(f"aspect_ratio {ratio}, resolution {fields.get('resolution')}")
        wide, _, high = ratio.partition(":")
        return round(float(wide) * 16), round(float(high) * 16)
    width, height = map(int, fields["size"].split("x"))
    if service is SERVICES["seedream"]:
        allowed = 3_686_400 <= width * height <= 16_777_216 and edit is False and references <= 14
        allowed = allowed and fields.get("sequential_image_generation") in ("auto", "disabled")
        width, height = width // 16, height // 16
    elif service in (SERVICES["azure"], SERVICES["litellm"]):
        allowed = fields["size"] in _GPT_IMAGE_SIZES
    elif service is SERVICES["aquiles"]:
        allowed = fields["size"] in _AQUILES_SIZES and references <= 10
    elif service is SERVICES["zhipu"]:
        allowed = fields["size"] in _ZHIPU_SIZES
    else:
        allowed = width % 16 == height % 16 == 0
    if not allowed:
        raise Refused(f"Invalid size {fields['size']}, or wrong references")
    return width, height
