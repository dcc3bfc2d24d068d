"""Enlarging images with the network: tiles without seams, and processes that crash, hang or are not needed."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from framehouse.adapters.images import upscale
from framehouse.adapters.images.image_upscaler import ImageUpscaler, UpscalingFailed
from framehouse.adapters.images.upscale import MARGIN_PX, NETWORK_FACTOR, enlarge_in_bands, load_network
from tests.support.eventually import eventually
from tests.support.upscalers import COUNTING, CRASHING, EXITING, HANGING, once

SMALL = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def drawing(height: int, width: int) -> NDArray[np.uint8]:
    """Circles on a gradient, with a little noise."""
    rows, columns = np.mgrid[0:height, 0:width]
    light = np.stack([rows % 200, columns % 200, (rows + columns) % 200], axis=2)
    light[(rows // 20 + columns // 20) % 3 == 0] = (230, 40, 90)
    noisy = light + np.random.default_rng(3).normal(0, 2, light.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def blur_and_repeat(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge by NETWORK_FACTOR. Each pixel depends on all pixels within MARGIN_PX."""
    size = 2 * MARGIN_PX + 1
    padded = np.pad(pixels.astype(np.uint32), ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    blurred: NDArray[np.uint8] = (windows.sum(axis=(-1, -2)) // size**2).astype(np.uint8)
    return blurred.repeat(NETWORK_FACTOR, axis=0).repeat(NETWORK_FACTOR, axis=1)


def whole(enlarge: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge an image in one piece, with a margin around it."""
    padded = np.pad(pixels, ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0)), mode="edge")
    margin = MARGIN_PX * NETWORK_FACTOR
    return enlarge(padded)[margin:-margin, margin:-margin]


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize(("height", "width"), [(70, 33), (32, 65), (1, 1)])
def test_tiles_are_joined_at_the_right_places(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int, factor: int
) -> None:
    pixels = drawing(height, width)
    expected = whole(blur_and_repeat, pixels)[:: 4 // factor, :: 4 // factor]
    monkeypatch.setattr(upscale, "TILE_PX", 32)
    assert np.array_equal(np.concatenate(list(enlarge_in_bands(blur_and_repeat, pixels, factor))), expected)


def test_the_network_leaves_no_seams_between_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    enlarge = load_network()
    pixels = drawing(60, 90)
    expected = whole(enlarge, pixels).astype(int)
    monkeypatch.setattr(upscale, "TILE_PX", 40)
    tiled = np.concatenate(list(enlarge_in_bands(enlarge, pixels, 4))).astype(int)
    assert tiled.shape == (240, 360, 3)
    assert abs(tiled - expected).max() <= 2
    monkeypatch.setattr(upscale, "MARGIN_PX", 0)
    assert abs(np.concatenate(list(enlarge_in_bands(enlarge, pixels, 4))) - expected).max() > 10  # the test finds seams


@pytest.mark.parametrize("factor", [2, 4])
async def test_an_edge_is_sharp_after_a_process_of_low_priority_has_enlarged_it(factor: int) -> None:
    pixels = np.full((24, 150, 3), 20, np.uint8)
    pixels[:, 75:] = 230
    upscaler = ImageUpscaler()
    try:
        enlarged = await upscaler.upscale(pixels, factor)
        assert upscaler._process
        assert os.getpriority(os.PRIO_PROCESS, upscaler._process.pid) == min(19, os.nice(0) + 5)
    finally:
        await upscaler.close()
    assert enlarged.shape == (24 * factor, 150 * factor, 3)
    middle = 75 * factor
    assert enlarged[:, : middle - 3].max() < 40
    assert enlarged[:, middle + 3 :].min() > 210


async def test_images_wait_for_each_other_and_share_a_process() -> None:
    upscaler = ImageUpscaler(COUNTING)
    images = await asyncio.gather(*(upscaler.upscale(SMALL, 2) for _ in range(3)))
    assert [(image.shape, int(image.min()), int(image.max())) for image in images] == [
        ((40, 60, 3), n, n) for n in (1, 2, 3)
    ]
    await upscaler.close()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (CRASHING, "the process died of SIGSEGV"),
        (EXITING, "the process exited with code 3"),
        (HANGING, "the time limit of 1 s was exceeded"),
    ],
)
async def test_a_process_that_fails_is_replaced(program: tuple[str, str], reason: str) -> None:
    upscaler = ImageUpscaler(program, start_s=1 if program == HANGING else 60)
    with pytest.raises(UpscalingFailed, match=reason):
        await upscaler.upscale(SMALL, 4)
    upscaler._program, upscaler._start_s = COUNTING, 60
    assert (await upscaler.upscale(SMALL, 4)).max() == 1
    await upscaler.close()


async def test_a_cancelled_image_frees_the_turn_and_kills_the_process(tmp_path: Path) -> None:
    upscaler = ImageUpscaler(once(HANGING, str(tmp_path / "marker")))
    cancelled = asyncio.create_task(upscaler.upscale(SMALL, 4))
    waiting = asyncio.create_task(upscaler.upscale(SMALL, 4))

    async def started() -> bool:
        return (tmp_path / "marker").exists()

    await eventually(started)
    assert upscaler._process
    pid = upscaler._process.pid
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await waiting).max() == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await upscaler.close()


async def test_a_closed_upscaler_fails_all_images_immediately(tmp_path: Path) -> None:
    upscaler = ImageUpscaler(once(HANGING, str(tmp_path / "marker")))
    images = [asyncio.create_task(upscaler.upscale(SMALL, 4)) for _ in range(3)]

    async def started() -> bool:
        return (tmp_path / "marker").exists()

    await eventually(started)
    await upscaler.close()
    errors = await asyncio.gather(*images, upscaler.upscale(SMALL, 4), return_exceptions=True)
    assert {str(error) for error in errors} == {"the worker is stopping"}
    assert upscaler._process is None


async def test_an_image_waits_only_for_a_limited_time_for_other_images(tmp_path: Path) -> None:
    upscaler = ImageUpscaler(once(HANGING, str(tmp_path / "marker")), turn_s=0.05)
    first = asyncio.create_task(upscaler.upscale(SMALL, 4))
    await asyncio.sleep(0)
    with pytest.raises(UpscalingFailed, match=r"other images have used the process for 0\.05 s"):
        await upscaler.upscale(SMALL, 4)
    await upscaler.close()
    with pytest.raises(UpscalingFailed):
        await first


async def test_a_process_that_dies_while_it_is_idle_is_replaced() -> None:
    upscaler = ImageUpscaler(COUNTING)
    await upscaler.upscale(SMALL, 2)
    process = upscaler._process
    assert process
    process.kill()
    await process.wait()
    assert (await upscaler.upscale(SMALL, 2)).max() == 1
    await upscaler.close()


async def test_a_process_that_is_not_needed_is_killed() -> None:
    upscaler = ImageUpscaler(COUNTING, idle_s=0.01)
    assert (await upscaler.upscale(SMALL, 2)).max() == 1

    async def killed() -> bool:
        return upscaler._process is None

    await eventually(killed)
    assert (await upscaler.upscale(SMALL, 2)).max() == 1
    await upscaler.close()


async def test_a_broken_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ncnn.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    upscaler = ImageUpscaler()
    with pytest.raises(UpscalingFailed, match="the process exited with code 1"):
        await upscaler.upscale(SMALL, 2)
    await upscaler.close()


@pytest.mark.parametrize("colour", [(236, 228, 210), (127, 127, 127), (180, 40, 90)])
def test_areas_keep_their_colours(monkeypatch: pytest.MonkeyPatch, colour: tuple[int, int, int]) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    area = np.full((32, 32, 3), colour, np.uint8)
    (enlarged,) = enlarge_in_bands(load_network(), area, 2)
    assert abs(enlarged.mean(axis=(0, 1)) - colour).max() < 0.5
    assert abs(enlarged.astype(int) - colour).max() <= 2
