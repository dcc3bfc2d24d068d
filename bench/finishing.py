"""Finishing one 4k picture: from the 1024 pixels that a model painted to the file and its watermarked copy.

Ours against the same steps in plain Pillow: resize, the mark pasted on a copy, both saved as PNG. On one core each.
"""

import io
import os
import time

import numpy as np
from PIL import Image, ImageDraw

from framehouse.adapters.fonts import draw_text
from framehouse.domain.sizes import Size
from framehouse.pipeline.finish import Finishing, finish
from measuring.comparisons import Figure, run_rounds, median, ratio
from measuring.photo import photo

SIZE = Size(4096, 4096)
FINISHING = Finishing(tool="bench", format="png", quality=92, watermark_text="AI generated", watermark_logo=b"")


def by_us(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    finished = finish(pixels, SIZE, {"model": "bench"}, FINISHING, watermark=True)
    return len(finished.content) + len(finished.watermarked)


def by_pillow(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    image = Image.fromarray(pixels).resize((SIZE.width, SIZE.height), Image.Resampling.LANCZOS)
    mark = Image.new("RGBA", (900, 240), (0, 0, 0, 0))
    draw_text(ImageDraw.Draw(mark), 20, 120, "AI generated", 180, (255, 255, 255, 220))
    copy = image.copy()
    copy.paste(mark, (SIZE.width - 1000, SIZE.height - 340), mark)
    size = 0
    for one in (image, copy):
        buffer = io.BytesIO()
        one.save(buffer, "PNG")
        size += len(buffer.getvalue())
    return size


def measure(rounds: int) -> list[Figure]:
    pixels = photo(1024, 1024)
    sizes: dict[str, int] = {}
    everywhere = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()

    def timed(name: str) -> float:
        began = time.perf_counter()
        sizes[name] = (by_us if name == "ours" else by_pillow)(pixels)
        return time.perf_counter() - began

    if everywhere:
        os.sched_setaffinity(0, {min(everywhere)})
    try:
        timed("ours")
        found = run_rounds({"ours": lambda: timed("ours"), "Pillow": lambda: timed("Pillow")}, rounds)
    finally:
        if everywhere:
            os.sched_setaffinity(0, everywhere)
    ours, theirs = f"{median(found, 'ours') * 1000:,.0f} ms", f"{median(found, 'Pillow') * 1000:,.0f} ms"
    return [
        Figure(
            "finishing one 4k picture with its watermarked copy",
            "plain Pillow",
            ratio(found, "Pillow", "ours"),
            4,
            False,
            "×",
            ours,
            theirs,
            rounds=found,
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
