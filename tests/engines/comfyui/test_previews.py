"""The previews of unfinished images that the engine `comfyui` receives, and the messages that contain none."""

import asyncio
import io
import json
import struct
from contextlib import aclosing

import pytest
from PIL import Image

from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.domain.task import RequestOptions
from framehouse.engines.comfyui import ComfyUI, preview_frames
from framehouse.engines.comfyui.preview_frames import read_preview
from framehouse.engines.comfyui.progress_socket import JobProgress
from framehouse.engines.interface import Batch, GeneratedImage, Progress
from tests.support.comfyui_server import WORKFLOWS, Comfy, Job, comfyui
from tests.support.comfyui_server import preview_message as message
from tests.support.eventually import eventually

FILE = b"\xff\xd8\xff a file"


def with_metadata(metadata: bytes, file: bytes = FILE) -> bytes:
    return struct.pack(">II", 4, len(metadata)) + metadata + file


async def previews_of(server: Comfy, partial_images: int | None, shots: int = 1) -> list[Progress]:
    """Generate images, and return the progress events with a preview.

    Before each step, the server waits until the engine has yielded the previews that are due after the earlier steps.
    """
    found: list[Progress] = []
    number = partial_images or 0

    async def before_step(job: Job, step: int) -> None:
        due = sum((step - 1) / 4 >= part / (number + 1) for part in range(1, number + 1))
        await server.until(lambda: job.client_id in server.sockets)

        async def received() -> bool:
            return sum(event.index == server.placed.index(job) for event in found) >= due

        if server.previews(job, 1):
            await eventually(received, seconds=20)

    server.before_step = before_step
    engine = ComfyUI(servers=[server.url], max_pixels=256 * 256, timeout_s=50, **WORKFLOWS)
    all_shots = tuple(Shot(n, "a fox", "", n) for n in range(shots))
    options = RequestOptions(partial_images=partial_images)
    batch = Batch("task", all_shots, shots, Size(1024, 1024), options=options)
    generated = 0
    try:
        async with aclosing(engine.generate(batch)) as events:  # type: ignore[type-var]
            async for event in events:
                generated += isinstance(event, GeneratedImage)
                if isinstance(event, Progress) and event.preview:
                    found.append(event)
    finally:
        await engine.close()
    assert generated == shots
    return found


def size_of(preview: bytes | None) -> tuple[int, int]:
    assert preview
    return Image.open(io.BytesIO(preview)).size


@pytest.mark.parametrize(("number", "widths"), [(None, []), (1, [32]), (2, [32, 48]), (3, [16, 32, 48])])
async def test_the_requested_number_of_previews_is_spread_over_the_steps(number: int | None, widths: list[int]) -> None:
    async with comfyui(previews=lambda job, step: [message(16 * step, 16)]) as server:
        found = await previews_of(server, number)
    assert [size_of(event.preview) for event in found] == [(width, 16) for width in widths]


async def test_previews_belong_to_their_shots() -> None:
    async with comfyui(previews=lambda job, step: [message(16 * step, 16)]) as server:
        found = await previews_of(server, 1, shots=2)
    assert [(event.index, size_of(event.preview)) for event in found] == [(0, (32, 16)), (1, (32, 16))]


async def test_a_message_with_metadata_contains_a_preview_of_the_job_that_it_names() -> None:
    file = message(20, 10)[8:]

    def send(job: Job, step: int) -> list[bytes]:
        named = {"prompt_id": job.id, "node_id": "3"}
        return [
            with_metadata(json.dumps(named | {"prompt_id": "other"}).encode(), message(90, 90)[8:]),
            with_metadata(json.dumps(named).encode(), file),
        ]

    async with comfyui(previews=send) as server:
        (found,) = await previews_of(server, 1)
    assert found.preview == file


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\0\0\0",
        struct.pack(">II", 1, 1),
        struct.pack(">II", 1, 1) + b"<html>",
        struct.pack(">II", 1, 1) + b"RIFF\0\0\0\0WEBP",
        struct.pack(">II", 2, 1) + FILE,
        struct.pack(">II", 3, 1) + FILE,
        struct.pack(">II", 4, 2**32 - 1) + FILE,
        with_metadata(b"{}"),
        with_metadata(b"[]"),
        with_metadata(b"7"),
        with_metadata(b"\xff\xfe"),
        with_metadata(b"[" * 100_000),
        with_metadata(b'{"prompt_id": "other"}'),
        with_metadata(b'{"prompt_id": "j"}', b"<html>"),
        struct.pack(">II", 1, 1) + FILE + bytes(preview_frames.MAX_PREVIEW_BYTES),
    ],
    ids=range(16),
)
async def test_hostile_messages_are_ignored(hostile: bytes) -> None:
    assert read_preview(hostile, "j") is None
    async with comfyui(previews=lambda job, step: [hostile, message(24, 24)]) as server:
        (found,) = await previews_of(server, 1)
    assert size_of(found.preview) == (24, 24)


@pytest.mark.parametrize(
    ("messages", "running"),
    [
        ([], False),
        ([{"type": "status", "data": {"status": {}}}], False),
        ([{"type": "progress", "data": {"value": 1, "max": 2}}], False),
        ([{"type": "execution_start", "data": {"prompt_id": "j"}}], True),
        ([{"type": "progress", "data": {"value": 1, "max": 2, "prompt_id": "j"}}], True),
        ([{"type": "execution_start", "data": {"prompt_id": "other"}}], False),
        ([{"type": "execution_start", "data": {"prompt_id": name}} for name in ("j", "other")], False),
        ([{"type": f"execution_{end}", "data": {"prompt_id": "j"}} for end in ("start", "error")], False),
        ([{"type": "executing", "data": {"prompt_id": "j", "node": node}} for node in ("1", None)], False),
    ],
)
def test_previews_are_used_only_while_the_server_runs_the_job(messages: list[object], running: bool) -> None:
    """A server sends the previews of jobs without a client id to all clients."""
    progress = JobProgress("j", 4)
    for text in messages:
        progress.read(json.dumps(text))
    assert progress.running is running


async def test_the_preview_of_another_users_job_is_not_used() -> None:
    async with comfyui(previews=lambda job, step: [message(24, 24)]) as server:
        server.gate.clear()
        server.add_foreign_job()
        call = asyncio.create_task(previews_of(server, 1))
        await server.until(lambda: server.running and server.pending and server.sockets)
        server.broadcast(message(99, 99))
        server.gate.set()
        (found,) = await call
    assert size_of(found.preview) == (24, 24)


async def test_a_server_without_previews() -> None:
    async with comfyui() as server:
        assert await previews_of(server, 3) == []
