"""A ComfyUI server on a real socket, which runs stand-ins of core nodes, and misbehaves on request.

It checks workflows as ComfyUI does, and runs one job at a time. Its images depend on all inputs of the workflow.
"""

import asyncio
import base64
import hashlib
import io
import itertools
import json
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.sockets import listening, read_head

_DOCS = Path(__file__).parents[2] / "docs" / "engines" / "comfyui"
WORKFLOWS = {
    "workflow": str(_DOCS / "text.json"),
    "edit_workflow": str(_DOCS / "edit.json"),
    "expand_workflow": str(_DOCS / "expand.json"),
}
"""The workflows of the docs, which the stand-in server can run, by option."""
_SAMPLERS = [["euler", "dpmpp_2m"]]
_SCHEDULERS = [["normal", "simple", "karras"]]
_INT, _FLOAT, _TEXT = ["INT", {}], ["FLOAT", {}], ["STRING", {"multiline": True}]
_SIZE = ["INT", {"default": 512, "min": 16, "max": 16384, "step": 8}]
_SEED = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1}]
_UPLOADED = [["example.png"], {"image_upload": True}]
_LATENT = {"width": _SIZE, "height": _SIZE, "batch_size": _INT}
_SAMPLER = {
    "model": ["MODEL"],
    "seed": _SEED,
    "steps": _INT,
    "cfg": _FLOAT,
    "sampler_name": _SAMPLERS,
    "scheduler": _SCHEDULERS,
    "positive": ["CONDITIONING"],
    "negative": ["CONDITIONING"],
    "latent_image": ["LATENT"],
    "denoise": _FLOAT,
}
_INPAINT = {
    "positive": ["CONDITIONING"],
    "negative": ["CONDITIONING"],
    "vae": ["VAE"],
    "pixels": ["IMAGE"],
    "mask": ["MASK"],
    "noise_mask": ["BOOLEAN", {}],
}
NODES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "CheckpointLoaderSimple": ({"ckpt_name": [["sd_xl_base_1.0.safetensors"], {}]}, {}, ["MODEL", "CLIP", "VAE"]),
    "UNETLoader": (
        {
            "unet_name": [
                "COMBO",
                {"options": ["qwen_image_edit_2509_fp8_e4m3fn.safetensors", "flux1-fill-dev.safetensors"]},
            ],
            "weight_dtype": [["default", "fp8_e4m3fn"]],
        },
        {},
        ["MODEL"],
    ),
    "CLIPLoader": (
        {"clip_name": [["qwen_2.5_vl_7b_fp8_scaled.safetensors"]], "type": [["flux", "qwen_image"]]},
        {"device": [["default", "cpu"], {}]},
        ["CLIP"],
    ),
    "DualCLIPLoader": (
        {
            "clip_name1": [["clip_l.safetensors", "t5xxl_fp16.safetensors"]],
            "clip_name2": [["clip_l.safetensors", "t5xxl_fp16.safetensors"]],
            "type": [["sdxl", "flux"]],
        },
        {"device": [["default", "cpu"], {}]},
        ["CLIP"],
    ),
    "VAELoader": ({"vae_name": [["qwen_image_vae.safetensors", "ae.safetensors"]]}, {}, ["VAE"]),
    "ModelSamplingAuraFlow": ({"model": ["MODEL"], "shift": _FLOAT}, {}, ["MODEL"]),
    "CFGNorm": ({"model": ["MODEL"], "strength": _FLOAT}, {}, ["MODEL"]),
    "DifferentialDiffusion": ({"model": ["MODEL"]}, {"strength": _FLOAT}, ["MODEL"]),
    "CLIPTextEncode": ({"text": _TEXT, "clip": ["CLIP"]}, {}, ["CONDITIONING"]),
    "TextEncodeQwenImageEditPlus": (
        {"clip": ["CLIP"], "prompt": _TEXT},
        {"vae": ["VAE"], "image1": ["IMAGE"], "image2": ["IMAGE"], "image3": ["IMAGE"]},
        ["CONDITIONING"],
    ),
    "FluxGuidance": ({"conditioning": ["CONDITIONING"], "guidance": _FLOAT}, {}, ["CONDITIONING"]),
    "ConditioningZeroOut": ({"conditioning": ["CONDITIONING"]}, {}, ["CONDITIONING"]),
    "ReferenceLatent": ({"conditioning": ["CONDITIONING"]}, {"latent": ["LATENT"]}, ["CONDITIONING"]),
    "EmptyLatentImage": (_LATENT, {}, ["LATENT"]),
    "EmptySD3LatentImage": (_LATENT, {}, ["LATENT"]),
    "VAEEncode": ({"pixels": ["IMAGE"], "vae": ["VAE"]}, {}, ["LATENT"]),
    "InpaintModelConditioning": (_INPAINT, {}, ["CONDITIONING", "CONDITIONING", "LATENT"]),
    "KSampler": (_SAMPLER, {}, ["LATENT"]),
    "VAEDecode": ({"samples": ["LATENT"], "vae": ["VAE"]}, {}, ["IMAGE"]),
    "LoadImage": ({"image": _UPLOADED}, {}, ["IMAGE", "MASK"]),
    "LoadImageMask": ({"image": _UPLOADED, "channel": [["alpha", "red", "green", "blue"]]}, {}, ["MASK"]),
    "SaveImage": ({"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}, {}, []),
    "PreviewImage": ({"images": ["IMAGE"]}, {}, []),
}
"""The required inputs, the optional inputs and the outputs of each class of nodes."""
_OUTPUT_NODES = {"SaveImage": "output", "PreviewImage": "temp"}


@dataclass
class Job:
    """A job in the queue. A job of another client has no nodes, and runs while the gate is closed."""

    number: int
    id: str
    nodes: dict[str, Any]
    client_id: str
    fault: str = ""
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    def item(self) -> list[Any]:
        outputs = [key for key, node in self.nodes.items() if node["class_type"] in _OUTPUT_NODES]
        return [self.number, self.id, self.nodes, {"client_id": self.client_id, "create_time": 1}, outputs]


@dataclass
class Comfy:
    """The state of a server.

    `faults` contains the next faults for each path, such as {"/prompt": ["cut"]}. A fault is one of "cut" and "lost"
    (the connection is closed before or after the request is processed), "hang", "garbage", "endless", "wait" (the
    request is processed after `released` is set), or a tuple of a status, a body and headers; an empty string is no
    fault. `always` contains faults that never end; its key "" stands for all paths. `job_faults` contains the faults of
    the next jobs: "oom", "error", "no outputs", "two images", "not an image", "small", "deleted", "hang" and "restart".
    While `gate` is closed, the running job waits before its sampler. `before_step` is awaited before each of the four
    steps of a sampler. `previews` returns the binary messages that the server sends after a step. `placed` contains all
    accepted jobs. `forgotten` contains the ids of the jobs that a restart has removed.
    """

    version: str = "0.9.2"
    accepts_ids: bool = True
    has_socket: bool = True
    key: str = ""
    faults: dict[str, list[Any]] = field(default_factory=dict)
    always: dict[str, Any] = field(default_factory=dict)
    job_faults: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    before_step: "Callable[[Job, int], Awaitable[object]] | None" = None
    previews: "Callable[[Job, int], list[bytes]]" = lambda job, step: []
    missing_nodes: set[str] = field(default_factory=set)
    missing_files: set[str] = field(default_factory=set)
    url: str = ""
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    placed: list[Job] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    pending: list[Job] = field(default_factory=list)
    running: Job | None = None
    history: dict[str, Any] = field(default_factory=dict)
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    sockets: dict[str, asyncio.StreamWriter] = field(default_factory=dict)
    connections: int = 0
    max_jobs: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.gate.set()

    def jobs(self) -> list[dict[str, Any]]:
        """The workflows of all jobs that clients have placed."""
        return [body["prompt"] for method, path, body in self.requests if (method, path) == ("POST", "/prompt")]

    def count(self, method: str, path: str) -> int:
        return sum(1 for m, p, _ in self.requests if m == method and p.startswith(path))

    async def until(self, condition: Any) -> None:
        """Wait until `condition()` is true. It is evaluated after each request and each step of a job."""
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(condition)

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def restart(self) -> None:
        """Forget all jobs and close all WebSockets, like a process that ends and starts again."""
        self.forgotten |= {job.id for job in self.pending} | set(self.history)
        self.pending.clear()
        self.history.clear()
        if self.running:
            self.forgotten.add(self.running.id)
            self.running.fault = "forgotten"
            self.running.interrupted.set()
            self.running = None
        self.drop_sockets()

    def drop_sockets(self) -> None:
        for writer in self.sockets.values():
            writer.transport.abort()
        self.sockets.clear()

    def broadcast(self, message: bytes) -> None:
        """Send a message to all clients, as ComfyUI does with the previews of a job that has no client id."""
        for writer in self.sockets.values():
            _frame(writer, message)

    def add_foreign_job(self) -> str:
        """Queue a job of another client, and return its id."""
        job = Job(next(self.numbers), str(uuid.uuid4()), {}, "someone")
        self.pending.append(job)
        return job.id


@asynccontextmanager
async def comfyui(**options: Any) -> AsyncIterator[Comfy]:
    """Run a server."""
    server = Comfy(**options)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(server, reader, writer)

    async with listening(serve) as url:
        server.url = url
        runner = asyncio.create_task(_run_jobs(server))
        try:
            yield server
        finally:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)


# --- requests ---------------------------------------------------------------------------------------------------------


async def _serve(server: Comfy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    method, target, headers = await read_head(reader)
    parts = urlsplit(target)
    path, query = parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}
    content = await _body(reader, headers)
    body = json.loads(content) if headers.get("content-type") == "application/json" else content
    server.requests.append((method, path, body))
    server.headers.append(headers)
    name = "/" + path.split("/")[1]
    faults = server.faults.get(f"{method} {name}") or server.faults.get(name, [])
    fault = faults.pop(0) if faults else _lasting_fault(server, method, name)
    if server.key and headers.get("authorization") != f"Bearer {server.key}":
        fault = (401, {})
    if fault == "cut":
        await server.notify()
        return writer.transport.abort()
    if fault == "hang":
        await server.notify()
        await asyncio.sleep(3600)
    if fault == "wait":
        await server.notify()
        await server.released.wait()
    if fault == "endless":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 1_000_000)
            await writer.drain()
    if fault == "garbage":
        return await _send(writer, 200, b"<html>Welcome</html>")
    if isinstance(fault, tuple):
        return await _send(writer, *fault)
    if path == "/ws":
        return await _serve_socket(server, query.get("clientId", ""), headers, reader, writer)
    status, answer = _answer(server, method, path, query, body, headers)
    await server.notify()
    if fault == "lost":
        return writer.transport.abort()
    return await _send(writer, status, answer)


def _lasting_fault(server: Comfy, method: str, name: str) -> Any:
    return next((server.always[key] for key in (f"{method} {name}", name, "") if key in server.always), "")


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def _answer(
    server: Comfy, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]
) -> tuple[int, Any]:
    running = [server.running.item()] if server.running else []
    match method, path:
        case "GET", "/system_stats":
            return 200, {"system": {"os": "posix", "comfyui_version": server.version}, "devices": []}
        case "GET", "/prompt":
            return 200, {"exec_info": {"queue_remaining": len(server.pending) + len(running)}}
        case "GET", "/queue":
            return 200, {"queue_running": running, "queue_pending": [job.item() for job in server.pending]}
        case "POST", "/queue":
            server.pending = [job for job in server.pending if job.id not in body.get("delete", [])]
            return 200, b""
        case "POST", "/interrupt":
            old = tuple(map(int, server.version.split("."))) < (0, 4)
            if server.running and (old or body.get("prompt_id") in (None, server.running.id)):
                server.running.interrupted.set()
            return 200, b""
        case "POST", "/prompt":
            return _place(server, body)
        case "POST", "/upload/image":
            return _upload(server, headers, body)
        case "GET", "/view":
            key = (query.get("type", "output"), query.get("subfolder", ""), query["filename"])
            content = server.files.get(key)
            return (200, content) if content is not None else (404, b"")
    if method == "GET" and path.startswith("/history/"):
        job_id = path.removeprefix("/history/")
        return 200, {job_id: server.history[job_id]} if job_id in server.history else {}
    if method == "GET" and path.startswith("/object_info/"):
        class_type = path.removeprefix("/object_info/")
        known = class_type in NODES and class_type not in server.missing_nodes
        return 200, {class_type: node_info(server, class_type)} if known else {}
    return 404, b"404: Not Found"


def node_info(server: Comfy, class_type: str) -> dict[str, Any]:
    required, optional, outputs = NODES[class_type]
    specs = {"required": required, "optional": optional}
    inputs = {kind: {name: _without(server, spec) for name, spec in named.items()} for kind, named in specs.items()}
    return {"input": inputs, "output": outputs, "name": class_type, "output_node": class_type in _OUTPUT_NODES}


def _without(server: Comfy, spec: list[Any]) -> list[Any]:
    """Remove the missing files from the choices of an input."""
    if isinstance(spec[0], list):
        return [[choice for choice in spec[0] if choice not in server.missing_files], *spec[1:]]
    return spec


def _place(server: Comfy, body: dict[str, Any]) -> tuple[int, Any]:
    nodes = body["prompt"]
    job_id = body.get("prompt_id") if server.accepts_ids else None
    if job_id is not None and str(uuid.UUID(job_id)) != job_id:
        error = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": ""}
        return 400, {"error": error, "node_errors": {}}
    for key, node in nodes.items():
        if node["class_type"] not in NODES or node["class_type"] in server.missing_nodes:
            error = {
                "type": "missing_node_type",
                "message": f"Node '{node['class_type']}' not found. The custom node may not be installed.",
                "details": f"Node ID '#{key}'",
            }
            return 400, {"error": error, "node_errors": {}}
    if not any(node["class_type"] in _OUTPUT_NODES for node in nodes.values()):
        return 400, {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs"}, "node_errors": {}}
    errors = {key: problems for key, node in nodes.items() if (problems := _problems(server, node, nodes))}
    if errors:
        node_errors = {
            key: {"errors": problems, "dependent_outputs": [], "class_type": nodes[key]["class_type"]}
            for key, problems in errors.items()
        }
        invalid = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
        return 400, {"error": invalid, "node_errors": node_errors}
    fault = server.job_faults.pop(0) if server.job_faults else ""
    job = Job(next(server.numbers), job_id or str(uuid.uuid4()), nodes, body.get("client_id", ""), fault)
    server.pending.append(job)
    server.placed.append(job)
    server.max_jobs = max(server.max_jobs, len(server.pending) + bool(server.running))
    return 200, {"prompt_id": job.id, "number": job.number, "node_errors": {}}


def _problems(server: Comfy, node: dict[str, Any], nodes: dict[str, Any]) -> list[dict[str, Any]]:
    info = node_info(server, node["class_type"])["input"]
    problems = []

    def add(kind: str, message: str, name: str, details: str) -> None:
        extra = {"input_name": name, "received_value": node["inputs"].get(name)}
        problems.append({"type": kind, "message": message, "details": details, "extra_info": extra})

    for group, name, spec in [(kind, *entry) for kind, specs in info.items() for entry in specs.items()]:
        if name not in node["inputs"]:
            if group == "required":
                add("required_input_missing", "Required input is missing", name, name)
            continue
        value = node["inputs"][name]
        choices = spec[0] if isinstance(spec[0], list) else (spec[1] if len(spec) > 1 else {}).get("options")
        if isinstance(value, list):
            output = NODES[nodes[value[0]]["class_type"]][2][value[1]]
            if output != spec[0]:
                add("return_type_mismatch", "Return type mismatch between linked nodes", name, name)
        elif len(spec) > 1 and spec[1].get("image_upload"):
            folder, _, file = value.rpartition("/")
            if ("input", folder, file) not in server.files:
                add("custom_validation_failed", "Custom validation failed for node", name, f"Invalid image: {value}")
        elif choices is not None and value not in choices:
            add("value_not_in_list", "Value not in list", name, f"{name}: '{value}' not in {choices}")
        elif spec[0] in ("INT", "FLOAT") and not isinstance(value, int | float):
            add(
                "invalid_input_type", f"Failed to convert an input value to a {spec[0]} value", name, f"{name}, {value}"
            )
        elif spec[0] == "INT" and not spec[1].get("min", 0) <= value <= spec[1].get("max", 2**64):
            add("value_smaller_than_min", "Value is out of range", name, name)
    return problems


def _upload(server: Comfy, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
    media, _, boundary = headers["content-type"].partition("; boundary=")
    assert media == "multipart/form-data"
    fields, filename, image = {}, "", b""
    for part in body.split(b"--" + boundary.encode())[1:-1]:
        head, _, content = part[2:-2].partition(b"\r\n\r\n")
        name = head.split(b'name="')[1].split(b'"')[0].decode()
        if name == "image":
            filename, image = head.split(b'filename="')[1].split(b'"')[0].decode(), content
        else:
            fields[name] = content.decode()
    if not filename:
        return 400, b""
    folder, stem, ending = fields.get("subfolder", ""), *filename.rsplit(".", 1)
    number = 1
    while server.files.get(("input", folder, filename), image) != image:
        filename, number = f"{stem} ({number}).{ending}", number + 1
    server.files["input", folder, filename] = image
    return 200, {"name": filename, "subfolder": folder, "type": "input"}


async def _send(writer: asyncio.StreamWriter, status: int, body: Any, extra: Mapping[str, str] | None = None) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in (extra or {}).items())
    writer.write(
        f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content
    )
    await writer.drain()


# --- the WebSocket ----------------------------------------------------------------------------------------------------


async def _serve_socket(
    server: Comfy,
    client_id: str,
    headers: dict[str, str],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    if not server.has_socket:
        return await _send(writer, 404, b"")
    accept = base64.b64encode(
        hashlib.sha1(f"{headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    ).decode()
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    server.sockets[client_id] = writer
    server.connections += 1
    _frame(writer, json.dumps({"type": "status", "data": {"status": {"exec_info": {}}, "sid": client_id}}))
    await server.notify()
    try:
        await reader.read()
    finally:
        if server.sockets.get(client_id) is writer:
            del server.sockets[client_id]
        await server.notify()


def _frame(writer: asyncio.StreamWriter, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    kind = 0x81 if isinstance(content, str) else 0x82
    if len(data) < 126:
        length = bytes([len(data)])
    else:
        length = struct.pack(">BH", 126, len(data)) if len(data) < 2**16 else struct.pack(">BQ", 127, len(data))
    writer.write(bytes([kind]) + length + data)


def _tell(server: Comfy, job: Job, kind: str, **data: Any) -> None:
    writer = server.sockets.get(job.client_id)
    if writer is not None:
        _frame(writer, json.dumps({"type": kind, "data": data | {"prompt_id": job.id}}))


# --- jobs -------------------------------------------------------------------------------------------------------------


async def _run_jobs(server: Comfy) -> None:
    while True:
        async with server.changed:
            await server.changed.wait_for(lambda: server.pending)
        job = server.running = server.pending.pop(0)
        await server.notify()
        outputs, messages = await _run_job(server, job)
        if job.fault == "forgotten":
            continue
        failed = any(name in ("execution_error", "execution_interrupted") for name, _ in messages)
        status = {"status_str": "error" if failed else "success", "completed": not failed, "messages": messages}
        server.history[job.id] = {"prompt": job.item(), "outputs": outputs, "status": status, "meta": {}}
        server.running = None
        _tell(server, job, "executing", node=None)
        await server.notify()


async def _run_job(server: Comfy, job: Job) -> tuple[dict[str, Any], list[Any]]:
    messages: list[Any] = []

    def add(kind: str, **data: Any) -> None:
        messages.append([kind, data | {"prompt_id": job.id, "timestamp": 1}])
        _tell(server, job, kind, **data)

    add("execution_start")
    add("execution_cached", nodes=[])
    outputs: dict[str, Any] = {}
    if not job.nodes:
        await _either(server.gate, job.interrupted)
        if job.interrupted.is_set():
            add("execution_interrupted", node_id="1", node_type="KSampler", executed=[])
    for key, node in job.nodes.items():
        class_type = node["class_type"]
        _tell(server, job, "executing", node=key, display_node=key)
        if class_type == "KSampler":
            if job.fault == "restart":
                server.restart()
                return {}, []
            if job.fault == "hang":
                await job.interrupted.wait()
            await _either(server.gate, job.interrupted)
            for step in range(1, 5):
                if server.before_step:
                    await server.before_step(job, step)
                _tell(server, job, "progress", value=step, max=4, node=key)
                for message in server.previews(job, step) if job.client_id in server.sockets else []:
                    _frame(server.sockets[job.client_id], message)
            if job.client_id in server.sockets:
                _frame(server.sockets[job.client_id], struct.pack(">II", 1, 1) + b"\xff\xd8\xff")
        if job.interrupted.is_set():
            add("execution_interrupted", node_id=key, node_type=class_type, executed=[])
            return {}, messages
        if class_type == "KSampler" and job.fault in ("oom", "error"):
            kind, words = ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory.")
            if job.fault == "error":
                kind = "RuntimeError"
                words = "mat1 and mat2 shapes cannot be multiplied in /home/alice/ComfyUI/comfy/ops.py\nTIPS: …"
            add(
                "execution_error",
                node_id=key,
                node_type=class_type,
                executed=[],
                exception_message=words,
                exception_type=kind,
                traceback=["/home/alice/ComfyUI/execution.py"],
                current_inputs={"text": ["a private prompt"]},
            )
            return {}, messages
        if class_type in _OUTPUT_NODES and job.fault != "no outputs":
            outputs[key] = {"images": _save(server, job, key)}
            _tell(server, job, "executed", node=key, output=outputs[key])
    add("execution_success")
    return outputs, messages


def _save(server: Comfy, job: Job, key: str) -> list[dict[str, str]]:
    """Store the image of an output node."""
    kind = _OUTPUT_NODES[job.nodes[key]["class_type"]]
    graph = json.dumps(_resolved(server, job.nodes, key), sort_keys=True).encode()
    width, height = (64, 48) if job.fault == "small" else _size(server, job.nodes)
    name = f"ComfyUI_{hashlib.sha256(graph).hexdigest()[:8]}_.png"
    content = b"not an image" if job.fault == "not an image" else _image(graph, width, height)
    if job.fault != "deleted":
        server.files[kind, "", name] = content
    entry = {"filename": name, "subfolder": "", "type": kind}
    return [entry, entry | {"filename": "other.png"}] if job.fault == "two images" else [entry]


def _resolved(server: Comfy, nodes: dict[str, Any], key: str) -> Any:
    """The inputs of a node, with the linked nodes and the contents of its files instead of their names."""
    inputs: dict[str, Any] = {}
    for name, value in nodes[key]["inputs"].items():
        if isinstance(value, list):
            inputs[name] = [_resolved(server, nodes, value[0]), value[1]]
        elif name == "image":
            folder, _, file = value.rpartition("/")
            inputs[name] = hashlib.sha256(server.files["input", folder, file]).hexdigest()
        else:
            inputs[name] = value
    return [nodes[key]["class_type"], inputs]


def _size(server: Comfy, nodes: dict[str, Any]) -> tuple[int, int]:
    """The size of the empty latent image, or otherwise of the first image."""
    for node in nodes.values():
        if node["class_type"].startswith("Empty"):
            return node["inputs"]["width"], node["inputs"]["height"]
    folder, _, file = next(n["inputs"]["image"] for n in nodes.values() if n["class_type"] == "LoadImage").rpartition(
        "/"
    )
    return Image.open(io.BytesIO(server.files["input", folder, file])).size


def _image(content: bytes, width: int, height: int) -> bytes:
    """An image file whose pixels depend on `content`. Its metadata contains the workflow, as in ComfyUI."""
    noise = np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:8], "big"))
    small = Image.fromarray(noise.integers(0, 256, (4, 4, 3), np.uint8))
    metadata = PngInfo()
    metadata.add_text("prompt", f'{{"class_type": {content.decode()}}}')
    buffer = io.BytesIO()
    large = small.resize((width, height), Image.Resampling.NEAREST)
    large.save(buffer, "PNG", compress_level=1, pnginfo=metadata)
    return buffer.getvalue()


def preview_message(width: int, height: int, *, format: str = "JPEG") -> bytes:
    """The binary message that contains a preview of this size. Its content depends on its size."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (width % 256, height % 256, 99)).save(buffer, format)
    return struct.pack(">II", 1, 1 if format == "JPEG" else 2) + buffer.getvalue()


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
