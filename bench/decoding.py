"""Measure the check of references: the time and the memory of the process that decodes large photos.

The alternative decodes, rotates and converts the same photos with plain Pillow, without the checks and without a
separate process.
"""

import io
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from PIL import Image, ImageCms, ImageOps

from framehouse.adapters.reference_files.icc_profile import profile_of_code_points
from measuring.comparisons import Figure, median, ratio, run_rounds
from measuring.framehouse_processes import environment
from measuring.photo import photo

WIDTH, HEIGHT = 8160, 6120
MEGAPIXELS = WIDTH * HEIGHT / 1e6
_DISPLAY_P3, _SRGB_CURVE = 12, 13
_MEMORY_TARGETS = {"JPEG": 400, "rotated Display P3 JPEG": 600, "WebP": 900, "AVIF": 600}
_TIME_TARGET = 1.5


def files() -> dict[str, bytes]:
    image = Image.fromarray(photo(WIDTH, HEIGHT))
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = profile_of_code_points(_DISPLAY_P3, _SRGB_CURVE)
    return {
        "JPEG": _encoded(image, "JPEG", quality=75),
        "rotated Display P3 JPEG": _encoded(image, "JPEG", quality=75, exif=exif.tobytes(), icc_profile=profile),
        "WebP": _encoded(image, "WEBP", quality=75, method=0),
        "AVIF": _encoded(image, "AVIF", quality=60, speed=10),
    }


def _encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def check(content: bytes) -> tuple[float, float]:
    """Check a file in a new process. Returns the time in seconds and the peak memory of the process in megabytes."""
    command = [sys.executable, "-m", "framehouse.adapters.images.decode", "jpg", "png", "webp", "avif"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdin
        assert process.stdout
        seconds = 0.0
        for file in (_encoded(Image.new("RGB", (300, 300)), "PNG"), content):  # the first file starts the process
            began = time.perf_counter()
            process.stdin.write(struct.pack(">I", len(file)) + file)
            process.stdin.flush()
            response = process.stdout.readline()
            seconds = time.perf_counter() - began
            assert b"size" in response, response
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.close()
        process.wait()
    peak_kb = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    return seconds, int(peak_kb) / 1000


def _timed_check(content: bytes, peaks: list[float]) -> float:
    seconds, peak = check(content)
    peaks.append(peak)
    return seconds


def decode_with_pillow(content: bytes) -> float:
    began = time.perf_counter()
    with Image.open(io.BytesIO(content)) as file:
        image = ImageOps.exif_transpose(file)
        if profile := file.info.get("icc_profile"):
            srgb = ImageCms.createProfile("sRGB")
            ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb, outputMode="RGB")
        image.convert("RGB")
    return time.perf_counter() - began


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms, {seconds * 1000 / MEGAPIXELS:.1f} per megapixel"


def measure(rounds: int) -> list[Figure]:
    Image.MAX_IMAGE_PIXELS = None
    figures = []
    for name, content in files().items():
        peaks: list[float] = []

        contenders = {"ours": partial(_timed_check, content, peaks), "Pillow": partial(decode_with_pillow, content)}
        times = run_rounds(contenders, rounds)
        figures += [
            Figure(
                f"checking a photo of {MEGAPIXELS:.0f} megapixels: {name}",
                "plain Pillow",
                ratio(times, "ours", "Pillow"),
                _TIME_TARGET,
                True,
                "×",
                _milliseconds(median(times, "ours")),
                _milliseconds(median(times, "Pillow")),
                rounds=times,
            ),
            Figure(
                f"peak memory of the process: {name}",
                "the decoded pixels",
                max(peaks),
                _MEMORY_TARGETS[name],
                True,
                "MB",
                "maximum of all rounds",
                f"{MEGAPIXELS * 4:.0f} MB",
            ),
        ]
    return figures
