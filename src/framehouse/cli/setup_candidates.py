"""Find the places that could generate images: GPUs, ComfyUI, model servers, and accounts whose keys are in the
environment."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from framehouse.domain.errors import Unavailable
from framehouse.domain.field_reader import url_problem
from framehouse.engines.diffusers.child import default_command, probe
from framehouse.engines.diffusers.diffusers_options import check_options
from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL
from framehouse.engines.diffusers.model_files import missing_requirement

SERVER_URLS = ("http://127.0.0.1:30000", "http://127.0.0.1:8000", "http://127.0.0.1:9997")
"""The default addresses of SGLang, vLLM-Omni and Xinference."""
_ANSWER_S = 3.0
_PROBE_S = 60.0
_MAX_ANSWER_BYTES = 1_000_000
_OPENAI: dict[str, object] = {"name": "openai", "engine": "openai_images", "kind": "openai", "model": "gpt-image-2"}
_XAI: dict[str, object] = {
    "name": "xai",
    "engine": "openai_images",
    "kind": "compatible",
    "model": "grok-imagine-image-quality",
    "max_n": 4,
    "references_as": "objects",
    "max_references": 3,
    "sizes": ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "20:9", "9:20"],
}
_SEEDREAM: dict[str, object] = {
    "name": "seedream",
    "engine": "openai_images",
    "kind": "compatible",
    "model": "doubao-seedream-4-5-251128",
    "references_as": "data_urls",
    "max_references": 14,
    "native_series": True,
    "extra": {"watermark": False},
    "sizes": ["2048x2048", "2304x1728", "1728x2304", "2848x1600", "1600x2848", "2496x1664", "1664x2496", "3136x1344",
              "4096x4096", "4704x3520", "3520x4704", "5504x3040", "3040x5504", "4992x3328", "3328x4992", "6240x2656"],
}  # fmt: skip
"""The recipe of docs/engines/seedream.md."""
_GEMINI: dict[str, object] = {"engine": "gemini", "model": "gemini-3-pro-image-preview"}
_FAL: dict[str, object] = {"engine": "fal", "model": "fal-ai/flux-2", "edit_model": "fal-ai/flux-2/edit"}


@dataclass(frozen=True, slots=True)
class _Service:
    """A service with paid accounts.

    `title` is the name of the service. `keys` contains the environment variables of the keys of an account.
    `url_variable` is the environment variable that replaces `url`. `route` returns the settings of a route from the URL
    and the keys.
    """

    title: str
    keys: tuple[str, ...]
    url_variable: str
    url: str
    route: Callable[..., dict[str, object]]


def _images_route(options: Mapping[str, object], url: str, key: str) -> dict[str, object]:
    return {**options, "base_urls": [url], "api_key": key}


def _gemini_route(url: str, key: str) -> dict[str, object]:
    """Return a route. Google's clients append the version of the API to the URL, but the engine does not."""
    return _GEMINI | {"base_url": f"{url.removesuffix('/v1beta')}/v1beta", "api_key": key}


def _fal_route(url: str, key: str) -> dict[str, object]:
    return _FAL | {"queue_url": url, "api_key": key}


def _kling_route(url: str, **keys: str) -> dict[str, object]:
    return {"engine": "kling", "base_url": url.removesuffix("/v1"), "accounts": [keys]}


_KLING = ("KLING_BASE_URL", "https://api-singapore.klingai.com")
_SERVICES = (
    _Service(
        "OpenAI", ("OPENAI_API_KEY",), "OPENAI_BASE_URL", "https://api.openai.com/v1", partial(_images_route, _OPENAI)
    ),
    _Service(
        "Gemini",
        ("GEMINI_API_KEY",),
        "GOOGLE_GEMINI_BASE_URL",
        "https://generativelanguage.googleapis.com",
        _gemini_route,
    ),
    _Service("fal", ("FAL_KEY",), "FAL_QUEUE_RUN_HOST", "https://queue.fal.run", _fal_route),
    _Service("xAI", ("XAI_API_KEY",), "XAI_BASE_URL", "https://api.x.ai/v1", partial(_images_route, _XAI)),
    _Service(
        "Seedream",
        ("ARK_API_KEY",),
        "ARK_BASE_URL",
        "https://ark.cn-beijing.volces.com/api/v3",
        partial(_images_route, _SEEDREAM),
    ),
    _Service(
        "Kling",
        ("KLING_ACCESS_KEY", "KLING_SECRET_KEY"),
        *_KLING,
        lambda url, access, secret: _kling_route(url, access_key=access, secret_key=secret),
    ),
    _Service("Kling", ("KLING_API_KEY",), *_KLING, lambda url, key: _kling_route(url, api_key=key)),
)
"""The variables of the URLs are those that the services' own clients read, or that many programs read."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that may be able to generate images.

    `title` describes the place. `route` contains the settings of its route, and is empty if something is missing.
    `missing` then says in one sentence what to do. `paid` is true if an image may cost money.
    """

    title: str
    route: Mapping[str, object]
    missing: str = ""
    paid: bool = False

    @property
    def name(self) -> str:
        """The name of the route."""
        return str(self.route.get("name", self.route.get("engine", "")))


async def find_candidates(
    environment: Mapping[str, str], *, comfyui_url: str, server_urls: Sequence[str], workflow: Path | None
) -> list[Candidate]:
    """Return the candidates, in the order in which tasks should use them: own GPUs and servers, then paid accounts."""
    gpu, comfyui, *servers = await asyncio.gather(
        asyncio.to_thread(_find_gpu),
        _find_comfyui(comfyui_url, workflow),
        *(_find_server(url) for url in server_urls),
    )
    local = [candidate for candidate in (gpu, comfyui, *servers) if candidate]
    return with_distinct_names(local + find_accounts(environment))


def find_accounts(environment: Mapping[str, str]) -> list[Candidate]:
    """Return a candidate for each account whose keys are in the environment variables."""
    values = {name: value.strip() for name, value in environment.items()}
    found = []
    for service in _SERVICES:
        keys = [values.get(name, "") for name in service.keys]
        if not all(keys):
            continue
        url = (values.get(service.url_variable) or service.url).rstrip("/")
        url = url if "://" in url else f"https://{url}"
        if problem := url_problem(url):
            found.append(Candidate(service.title, {}, f"{service.url_variable} {problem}", paid=True))
        else:
            title = f"{service.title} at {urlsplit(url).netloc} ({service.keys[0]})"
            found.append(Candidate(title, service.route(url, *keys), paid=True))
    return found


def with_distinct_names(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates. If several routes have the same name, numbers are appended to the names."""
    named: list[Candidate] = []
    for candidate in candidates:
        number = sum(candidate.name == other.name for other in candidates[: len(named)]) + 1
        if candidate.route and number > 1:
            candidate = replace(candidate, route={**candidate.route, "name": f"{candidate.name}-{number}"})
        named.append(candidate)
    return named


def _find_gpu() -> Candidate | None:
    """Return a candidate for the GPUs of this machine. Blocks the calling thread."""
    options, _ = check_options()
    installed = missing_requirement(options)
    if installed and installed.subject == "packages":
        if not any(Path("/dev").glob("nvidia[0-9]*")):
            return None
        return Candidate("a GPU of this machine", {}, 'Run: pip install "framehouse[diffusers]"')
    try:
        devices = probe(default_command(), _PROBE_S)["devices"]
    except (KeyError, Unavailable):
        return None
    if all(device["id"] == "cpu" for device in devices):
        return None
    title = f"{devices[0]['name']} ({len(devices)})" if len(devices) > 1 else str(devices[0]["name"])
    if installed:
        return Candidate(title, {}, f"Run: framehouse models plan {DEFAULT_MODEL}, then framehouse models pull it")
    return Candidate(f"{title} with {DEFAULT_MODEL}", {"engine": "diffusers"})


async def _find_comfyui(url: str, workflow: Path | None) -> Candidate | None:
    answer = await _get_json(f"{url}/system_stats")
    if not isinstance(answer, dict) or "system" not in answer:
        return None
    title = f"ComfyUI at {url}"
    if workflow is None:
        return Candidate(title, {}, "Export a workflow (docs/engines/comfyui.md), and add --workflow FILE")
    return Candidate(title, {"engine": "comfyui", "servers": [url], "workflow": str(workflow)})


async def _find_server(url: str) -> Candidate | None:
    """Return a candidate for the model server at a URL, or None if there is no such server."""
    answer = await _get_json(f"{url}/v1/models")
    models = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        return None
    for model in models:
        kind = _kind_of(model)
        if kind and isinstance(model.get("id"), str):
            route = {"name": kind, "engine": "openai_images", "kind": kind, "base_urls": [url], "model": model["id"]}
            return Candidate(f"{kind} at {url} with {model['id']}", route)
    return None


def _kind_of(model: Mapping[str, Any]) -> str:
    """Return the kind of server that lists a model, or an empty string if it is unknown or has no images."""
    owner = str(model.get("owned_by", "")).lower()
    if model.get("model_type") == "image":
        return "xinference"
    return {"sglang": "sglang", "vllm": "vllm_omni", "vllm-omni": "vllm_omni"}.get(owner, "")


async def _get_json(url: str) -> object:
    """Return the JSON of a response, or None if there is no such response within three seconds."""
    try:
        async with (
            asyncio.timeout(_ANSWER_S),
            httpx.AsyncClient(trust_env=False, timeout=_ANSWER_S) as client,
            client.stream("GET", url) as answer,
        ):
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    return None
            return httpx.Response(answer.status_code, content=body).json() if answer.status_code == 200 else None
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError):
        return None
