"""Measure the CPU time that the upscaler needs for one image, and how close the result is to the original drawing.

The alternative is Lanczos resampling. The image is a drawing without noise: it is drawn at the final size, reduced with
a box filter, and enlarged again. The error is the mean difference from the original drawing, near the edges only.
The elapsed time depends on the other processes of the machine, because the upscaler has a low priority. The part needs
Linux.
"""

import asyncio
import os
import re
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from framehouse.adapters.fonts import draw_text
from framehouse.adapters.images.image_upscaler import ImageUpscaler
from framehouse.adapters.images.resize import resize_and_crop
from framehouse.domain.sizes import Size
from measuring.comparisons import Figure, median, run_rounds

Pixels = NDArray[np.uint8]
GENERATED = 1024
_EDGE = 24
"""A pixel belongs to an edge if the difference from a pixel next to it is larger than this value."""


def drawing(size: int) -> Pixels:
    """Return a square drawing with shapes, lines and text, as on a poster."""
    random = np.random.default_rng(7)
    image = Image.new("RGB", (size, size), (236, 228, 210))
    draw = ImageDraw.Draw(image)
    unit = size / 100
    for _ in range(60):
        left, top, radius = random.uniform(0, 100), random.uniform(0, 100), random.uniform(2, 14)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        box = [(left - radius) * unit, (top - radius) * unit, (left + radius) * unit, (top + radius) * unit]
        if random.random() < 0.5:
            draw.ellipse(box, fill=colour)
        else:
            draw.line(box, fill=colour, width=max(1, int(unit * random.uniform(0.2, 1.5))))
    for row in range(8):
        text = "Framehouse 2026: the quick brown fox"
        draw_text(draw, int(4 * unit), int((6 + row * 12) * unit), text, int((1 + row / 2) * unit), (20, 20, 40, 255))
    return np.asarray(image)


def edge_error(pixels: Pixels, original: Pixels) -> float:
    """Return the mean difference from the original at its edges, as a value from 0 to 255."""
    grey = original.astype(np.int16).mean(axis=2)
    edges = np.zeros(grey.shape, bool)
    edges[:, 1:] |= abs(np.diff(grey, axis=1)) > _EDGE
    edges[1:, :] |= abs(np.diff(grey, axis=0)) > _EDGE
    return float(abs(pixels.astype(np.int16) - original)[edges].mean())


def measure(rounds: int) -> list[Figure]:
    figures = []
    peak_mb = 0.0
    for factor, name in ((2, "2k"), (4, "4k")):
        original = drawing(GENERATED * factor)
        contest = Contest(np.asarray(Image.fromarray(original).reduce(factor)), factor)
        try:
            times = run_rounds({"ours": contest.upscale, "Lanczos": contest.resize}, rounds)
            peak_mb = max(peak_mb, contest.peak_memory_mb())
        finally:
            contest.close()
        errors = {name: edge_error(pixels, original) for name, pixels in contest.enlarged.items()}
        figures += [
            Figure(
                f"CPU time to enlarge one 1k image to {name} with the upscaler",
                "Lanczos",
                median(times, "ours"),
                20,
                True,
                "s",
                f"elapsed on shared cores: {statistics.median(contest.elapsed_s):.1f} s",
                f"{median(times, 'Lanczos') * 1000:,.0f} ms",
                rounds=times,
            ),
            Figure(
                f"difference from the original at the edges of a drawing, 1k enlarged to {name}",
                "Lanczos",
                errors["ours"] / errors["Lanczos"],
                0.8,
                True,
                "×",
                f"{errors['ours']:.1f} of 255",
                f"{errors['Lanczos']:.1f} of 255",
            ),
        ]
    return [
        *figures,
        Figure(
            "peak memory of the process that enlarges images", "–", peak_mb, 400, True, "MB", "maximum of both sizes"
        ),
    ]


class Contest:
    """Enlarges the same image with both methods. The methods return the CPU time that they used."""

    def __init__(self, generated: Pixels, factor: int) -> None:
        self._generated = generated
        self._factor = factor
        self._runner = asyncio.Runner()
        self._upscaler = ImageUpscaler()
        self._runner.run(self._upscaler.upscale(generated[:64, :64], factor))
        assert self._upscaler._process
        self._pid = self._upscaler._process.pid
        self.enlarged: dict[str, Pixels] = {}
        self.elapsed_s: list[float] = []

    def upscale(self) -> float:
        began, used = time.perf_counter(), self._cpu_s()
        self.enlarged["ours"] = self._runner.run(self._upscaler.upscale(self._generated, self._factor))
        self.elapsed_s.append(time.perf_counter() - began)
        return self._cpu_s() - used

    def resize(self) -> float:
        height, width = self._generated.shape[:2]
        used = time.process_time()
        self.enlarged["Lanczos"] = resize_and_crop(self._generated, Size(width * self._factor, height * self._factor))
        return time.process_time() - used

    def close(self) -> None:
        self._runner.run(self._upscaler.close())
        self._runner.close()

    def peak_memory_mb(self) -> float:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self._pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    def _cpu_s(self) -> float:
        """Return the CPU time that the process has used so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
