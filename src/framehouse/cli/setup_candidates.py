"""Find the places that could generate images: GPUs, ComfyUI, model servers, and accounts whose keys are in the
environment."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from framehouse.domain.errors import Unavailable
from framehouse.engines.diffusers.child import default_command, probe
from framehouse.engines.diffusers.diffusers_options import check_options
from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL
from framehouse.engines.diffusers.model_files import missing_requirement

COMFYUI_URL = "http://127.0.0.1:8188"
SERVER_URLS = ("http://127.0.0.1:30000", "http://127.0.0.1:8000", "http://127.0.0.1:9997")
"""The default addresses of SGLang, vLLM-Omni and Xinference."""
_ANSWER_S = 3.0
_PROBE_S = 60.0
_MAX_ANSWER_BYTES = 1_000_000
_OPENAI: dict[str, object] = {"engine": "openai_images", "kind": "openai", "model": "gpt-image-2"}
_XAI: dict[str, object] = {
    "engine": "openai_images",
    "kind": "compatible",
    "base_urls": ["https://api.x.ai/v1"],
    "model": "grok-imagine-image-quality",
    "max_n": 4,
    "references_as": "objects",
    "max_references": 3,
    "sizes": ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "2:1", "1:2", "20:9", "9:20"],
}
_SEEDREAM: dict[str, object] = {
    "engine": "openai_images",
    "kind": "compatible",
    "base_urls": ["https://ark.cn-beijing.volces.com/api/v3"],
    "model": "doubao-seedream-4-5-251128",
    "references_as": "data_urls",
    "max_references": 14,
    "native_series": True,
    "extra": {"watermark": False},
    "sizes": ["2048x2048", "2304x1728", "1728x2304", "2848x1600", "1600x2848", "2496x1664", "1664x2496", "3136x1344",
              "4096x4096", "4704x3520", "3520x4704", "5504x3040", "3040x5504", "4992x3328", "3328x4992", "6240x2656"],
}  # fmt: skip
"""The recipe of docs/engines/seedream.md."""
_KEYS: tuple[tuple[str, dict[str, object]], ...] = (
    ("OPENAI_API_KEY", _OPENAI),
    ("GEMINI_API_KEY", {"engine": "gemini", "model": "gemini-3-pro-image-preview"}),
    ("FAL_KEY", {"engine": "fal", "model": "fal-ai/flux-2", "edit_model": "fal-ai/flux-2/edit"}),
    ("XAI_API_KEY", _XAI),
    ("ARK_API_KEY", _SEEDREAM),
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that may be able to generate images.

    `title` describes the place. `route` contains the settings of its route, and is empty if something is missing.
    `missing` then says in one sentence what to do.
    """

    title: str
    route: Mapping[str, object]
    missing: str = ""


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
    return local + find_accounts(environment)


def find_accounts(environment: Mapping[str, str]) -> list[Candidate]:
    """Return a candidate for each account whose key is in the environment variables."""
    found = [
        Candidate(f"the account of {variable}", route | {"api_key": key})
        for variable, route in _KEYS
        if (key := environment.get(variable, "").strip())
    ]
    access_key, secret_key = (environment.get(f"KLING_{name}_KEY", "").strip() for name in ("ACCESS", "SECRET"))
    if access_key and secret_key:
        account = {"access_key": access_key, "secret_key": secret_key}
        route = {"engine": "kling", "base_url": "https://api-singapore.klingai.com", "accounts": [account]}
        found.append(Candidate("the account of KLING_ACCESS_KEY", route))
    return found


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
            route = {"engine": "openai_images", "kind": kind, "base_urls": [url], "model": model["id"]}
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
