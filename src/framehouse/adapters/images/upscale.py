"""Enlarge images with a neural network. `image_upscaler` runs this module as a separate process.

The process reads images from standard input. Each image is preceded by its width, its height and the factor (three
four-byte numbers, big-endian). The factor is 2 or 4. Its pixels follow, as three bytes per pixel. For each image, the
process writes the pixels of the enlarged image, from top to bottom. At the end of its input, the process exits.
"""

import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.images.decode import take_low_priority

Pixels = NDArray[np.uint8]
HEADER = ">III"
NETWORK_FACTOR = 4
NICENESS = 10
TILE_PX = 128
MARGIN_PX = 12
"""The width of the margin around each tile. With this margin, the pixels of a tile differ by at most 1 of 255 from the
pixels of an image that is enlarged in one piece, so no seams are visible."""


def load_network() -> Callable[[Pixels], Pixels]:
    """Load the network. Returns a function that enlarges an image by NETWORK_FACTOR. Raises ImportError or
    RuntimeError."""
    import ncnn

    network = ncnn.Net()
    network.opt.use_vulkan_compute = False
    network.opt.num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with as_file(files("framehouse") / "assets" / "upscaling") as folder:
        name = str(folder / "realesr-animevideov3-x4")
        if network.load_param(f"{name}.param") or network.load_model(f"{name}.bin"):
            raise RuntimeError(f"cannot load {name}")

    def enlarge(pixels: Pixels) -> Pixels:
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / 255
        extractor = network.create_extractor()
        extractor.input(
            "data", ncnn.Mat(planes)
        )  # the Mat points into `planes`, which must not be freed before the end
        code, output = extractor.extract("output")
        if code:
            raise RuntimeError(f"the network failed with code {code}")
        enlarged = np.array(output).transpose(1, 2, 0)
        return (enlarged * 255).round().clip(0, 255).astype(np.uint8)

    return enlarge


def enlarge_in_bands(enlarge: Callable[[Pixels], Pixels], pixels: Pixels, factor: int) -> Iterator[Pixels]:
    """Enlarge an image by `factor`, tile by tile, so that the required memory does not depend on the size of the image.

    Yields bands of rows, from top to bottom. `enlarge` enlarges a tile by NETWORK_FACTOR. If `factor` is 2, each pixel
    is the mean of four pixels.
    """
    height, width = pixels.shape[:2]
    for top in range(0, height, TILE_PX):
        bottom = min(height, top + TILE_PX)
        band = np.empty(((bottom - top) * factor, width * factor, 3), np.uint8)
        for left in range(0, width, TILE_PX):
            right = min(width, left + TILE_PX)
            outer_top, outer_left = max(0, top - MARGIN_PX), max(0, left - MARGIN_PX)
            tile = enlarge(pixels[outer_top : bottom + MARGIN_PX, outer_left : right + MARGIN_PX])
            if factor < NETWORK_FACTOR:
                tile = _halve(tile)
            inner = tile[(top - outer_top) * factor :, (left - outer_left) * factor :]
            band[:, left * factor : right * factor] = inner[: len(band), : (right - left) * factor]
        yield band


def _halve(pixels: Pixels) -> Pixels:
    """Return an image of half the width and height. Each pixel is the mean of four pixels."""
    height, width = pixels.shape[:2]
    sums = pixels.reshape(height // 2, 2, width // 2, 2, 3).sum(axis=(1, 3), dtype=np.uint16)
    halved: Pixels = ((sums + 2) // 4).astype(np.uint8)
    return halved


def main() -> None:
    # this process ignores Ctrl-C, because the worker first finishes its batches and then kills this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that texts of the library do not become pixels
    take_low_priority(NICENESS)
    try:
        enlarge = load_network()
    except (ImportError, RuntimeError) as error:
        sys.exit(f"the upscaler cannot be loaded: {error}")
    source = sys.stdin.buffer
    while len(header := source.read(struct.calcsize(HEADER))) == struct.calcsize(HEADER):
        width, height, factor = struct.unpack(HEADER, header)
        pixels = np.frombuffer(source.read(width * height * 3), np.uint8).reshape(height, width, 3)
        for band in enlarge_in_bands(enlarge, pixels, factor):
            target.write(band.data)
        target.flush()


if __name__ == "__main__":
    main()
