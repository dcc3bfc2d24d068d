"""Measure the finishing of one 4k image: from a generated image of 1024² pixels to the file and its watermarked copy.

The alternative does the same steps in plain Pillow: resize, paste the watermark on a copy, and save both as PNG. Both
run on one core. A second comparison shows how much time the preview takes.
"""

import io
import os
import time
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageDraw

from framehouse.adapters.fonts import draw_text
from framehouse.domain.sizes import Size
from framehouse.pipeline.finish import Finishing, finish
from measuring.comparisons import Figure, median, ratio, run_rounds
from measuring.photo import photo

SIZE = Size(4096, 4096)
FINISHING = Finishing(software="bench", format="png", quality=92, watermark_text="AI generated", watermark_logo=b"")


def finish_with_framehouse(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    finished = finish(pixels, SIZE, {"model": "bench"}, FINISHING, source_type="algorithmicMedia", watermark=True)
    return len(finished.content) + len(finished.watermarked)


def finish_with_pillow(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    image = Image.fromarray(pixels).resize((SIZE.width, SIZE.height), Image.Resampling.LANCZOS)
    watermark = Image.new("RGBA", (900, 240), (0, 0, 0, 0))
    draw_text(ImageDraw.Draw(watermark), 20, 120, "AI generated", 180, (255, 255, 255, 220))
    watermarked = image.copy()
    watermarked.paste(watermark, (SIZE.width - 1000, SIZE.height - 340), watermark)
    size = 0
    for version in (image, watermarked):
        buffer = io.BytesIO()
        version.save(buffer, "PNG")
        size += len(buffer.getvalue())
    return size


def finish_without_preview(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    with patch("framehouse.pipeline.finish.create_preview", lambda *_: (b"", b"")):
        finish(pixels, SIZE, {"model": "bench"}, FINISHING, source_type="algorithmicMedia", watermark=False)


def finish_with_preview(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    finish(pixels, SIZE, {"model": "bench"}, FINISHING, source_type="algorithmicMedia", watermark=False)


def measure(rounds: int) -> list[Figure]:
    pixels = photo(1024, 1024)
    sizes: dict[str, int] = {}
    all_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

    def seconds(action: Callable[..., None], *arguments: object) -> float:
        began = time.perf_counter()
        action(*arguments)
        return time.perf_counter() - began

    def time_of(name: str) -> float:
        began = time.perf_counter()
        sizes[name] = (finish_with_framehouse if name == "ours" else finish_with_pillow)(pixels)
        return time.perf_counter() - began

    if all_cores:
        os.sched_setaffinity(0, {min(all_cores)})
    try:
        time_of("ours")
        times = run_rounds({"ours": lambda: time_of("ours"), "Pillow": lambda: time_of("Pillow")}, rounds)
        large = photo(SIZE.width, SIZE.height)
        finish_with_preview(large)
        contenders = {
            "with": lambda: seconds(finish_with_preview, large),
            "without": lambda: seconds(finish_without_preview, large),
        }
        previews = run_rounds(contenders, 4 * rounds)  # more rounds, because the difference is small
    finally:
        if all_cores:
            os.sched_setaffinity(0, all_cores)
    ours, theirs = f"{median(times, 'ours') * 1000:,.0f} ms", f"{median(times, 'Pillow') * 1000:,.0f} ms"
    return [
        Figure(
            "finishing one 4k image with its watermarked copy",
            "plain Pillow",
            ratio(times, "Pillow", "ours"),
            4,
            False,
            "×",
            ours,
            theirs,
            rounds=times,
        ),
        Figure(
            "finishing one 4k image with its preview and ThumbHash",
            "without a preview",
            ratio(previews, "with", "without"),
            1.05,
            True,
            "×",
            f"{median(previews, 'with') * 1000:,.0f} ms",
            f"{median(previews, 'without') * 1000:,.0f} ms",
            rounds=previews,
        ),
        Figure(
            "size of the two files",
            "plain Pillow",
            sizes["ours"] / sizes["Pillow"],
            1.15,
            True,
            "×",
            f"{sizes['ours'] / 1e6:.1f} MB",
            f"{sizes['Pillow'] / 1e6:.1f} MB",
        ),
    ]
