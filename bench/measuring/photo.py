"""An image that compresses like a photo: it has gradients, edges and the noise of a sensor."""

import numpy as np


def photo(width: int, height: int, seed: int = 7) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return (height, width, 3) RGB pixels. The same size and seed give the same pixels."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / max(width, height)
    light = np.stack([90 + 120 * rows, 110 + 60 * columns, 160 - 70 * rows], axis=2)
    for _ in range(24):
        top, left, radius = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.03, 0.15)
        inside = (rows - top) ** 2 + (columns - left) ** 2 < radius**2
        light[inside] = light[inside] * 0.4 + random.uniform(30, 220, 3) * 0.6
    light += random.normal(0, 2.0, light.shape)
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = np.clip(light, 0, 255).astype(np.uint8)
    return pixels
