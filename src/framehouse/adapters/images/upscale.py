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
from PIL import Image

from framehouse.adapters.images.decode import take_low_priority

Pixels = NDArray[np.uint8]
HEADER = ">III"
NETWORK_FACTOR = 4
TILE_PX = 128
MARGIN_PX = 16
"""The width of the margin around each tile. Outside the image, the margin repeats the pixels at the edge of the image.
With this margin, the pixels of a tile differ by at most 2 of 255 from the pixels of an image that is enlarged in one
piece, so no seams are visible."""
_COLOUR_RADIUS_PX = 4


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
        image: NDArray[np.float32] = (pixels / 255).astype(np.float32)
        planes = np.ascontiguousarray(image.transpose(2, 0, 1))
        extractor = network.create_extractor()
        extractor.input(
            "data", ncnn.Mat(planes)
        )  # the Mat points into `planes`, which must not be freed before the end
        code, output = extractor.extract("output")
        if code:
            raise RuntimeError(f"the network failed with code {code}")
        enlarged: NDArray[np.float32] = np.array(output).transpose(1, 2, 0)
        corrected = enlarged + _colour_correction(image, enlarged)
        rounded: Pixels = (corrected * 255).round().clip(0, 255).astype(np.uint8)
        return rounded

    return enlarge


def enlarge_in_bands(enlarge: Callable[[Pixels], Pixels], pixels: Pixels, factor: int) -> Iterator[Pixels]:
    """Enlarge an image by `factor`, tile by tile, so that the required memory does not depend on the size of the image.

    Yields bands of rows, from top to bottom. `enlarge` enlarges a tile by NETWORK_FACTOR. If `factor` is 2, each pixel
    is the mean of four pixels.
    """
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0)), mode="edge")
    for top in range(0, height, TILE_PX):
        bottom = min(height, top + TILE_PX)
        band = np.empty(((bottom - top) * factor, width * factor, 3), np.uint8)
        for left in range(0, width, TILE_PX):
            right = min(width, left + TILE_PX)
            tile = enlarge(padded[top : bottom + 2 * MARGIN_PX, left : right + 2 * MARGIN_PX])
            if factor < NETWORK_FACTOR:
                tile = _halve(tile)
            inner = tile[MARGIN_PX * factor :, MARGIN_PX * factor :]
            band[:, left * factor : right * factor] = inner[: len(band), : (right - left) * factor]
        yield band


def _colour_correction(image: NDArray[np.float32], enlarged: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values that must be added to an enlarged image, so that its areas keep the colours of the image.

    The network changes the colours of areas by up to 4 of 255. Without the correction, the edge of the original image
    would be visible in an expanded image.
    """
    height, width = image.shape[:2]
    reduced = enlarged.reshape(height, NETWORK_FACTOR, width, NETWORK_FACTOR, 3).mean(axis=(1, 3))
    difference = _blur(_blur(image - reduced, 0), 1)
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width * NETWORK_FACTOR, height * NETWORK_FACTOR), Image.Resampling.BILINEAR
        )
        for plane in difference.transpose(2, 0, 1)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def _blur(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Replace each value by the mean of the values within _COLOUR_RADIUS_PX along an axis."""
    padding = [(0, 0)] * 3
    padding[axis] = (_COLOUR_RADIUS_PX + 1, _COLOUR_RADIUS_PX)
    sums = np.pad(values, padding, mode="edge").cumsum(axis, dtype=np.float64)
    size = 2 * _COLOUR_RADIUS_PX + 1
    ends, starts = (
        np.take(sums, range(size, sums.shape[axis]), axis),
        np.take(sums, range(sums.shape[axis] - size), axis),
    )
    blurred: NDArray[np.float32] = ((ends - starts) / size).astype(np.float32)
    return blurred


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
    take_low_priority()
    try:
        enlarge = load_network()
    except (ImportError, RuntimeError) as error:
        sys.exit(f"the upscaler cannot be loaded: {error}")
    source = sys.stdin.buffer
    while len(header := source.read(struct.calcsize(HEADER))) == struct.calcsize(HEADER):
        width, height, factor = struct.unpack(HEADER, header)
        pixels = np.frombuffer(source.read(width * height * 3), np.uint8).reshape(height, width, 3)
        try:
            for band in enlarge_in_bands(enlarge, pixels, factor):
                target.write(band.data)
            target.flush()
        except BrokenPipeError:  # the worker has died
            os._exit(1)


if __name__ == "__main__":
    main()
