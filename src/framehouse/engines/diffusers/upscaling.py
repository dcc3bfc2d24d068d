"""Upscale images with a super-resolution model. This module runs in the child process.

Images are upscaled tile by tile to limit memory usage.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TILE_PX, _MARGIN_PX = 256, 16


class Upscaler:
    """A small super-resolution model from the transformers library, such as Swin2SR, with 32-bit weights."""

    def __init__(self, folder: str, device: str) -> None:
        import torch
        from transformers import AutoModelForImageToImage

        self._device = device
        self._model: Any = AutoModelForImageToImage.from_pretrained(  # nosec B615 - nothing is downloaded: see hub.py
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        self._model.to(device).eval()

    def enlarge(self, image: NDArray[np.float32], on_tile: Callable[[], None]) -> NDArray[np.float32]:
        """Enlarge an image by the model's own factor. The image has the shape (height, width, 3), and values from 0 to
        1.

        Each tile is enlarged with a margin around it, so that no seams are visible. `on_tile` is called before each
        tile is enlarged. An exception from `on_tile` stops the upscaling and is propagated.
        """
        height, width = image.shape[:2]
        enlarged: NDArray[np.float32] | None = None
        for top in range(0, height, _TILE_PX):
            for left in range(0, width, _TILE_PX):
                on_tile()
                outer_top, outer_left = max(0, top - _MARGIN_PX), max(0, left - _MARGIN_PX)
                bottom, right = min(height, top + _TILE_PX), min(width, left + _TILE_PX)
                tile = image[outer_top : bottom + _MARGIN_PX, outer_left : right + _MARGIN_PX]
                enlarged_tile = self._enlarge_tile(tile)
                factor = enlarged_tile.shape[0] // tile.shape[0]
                if enlarged is None:
                    enlarged = np.empty((height * factor, width * factor, 3), np.float32)
                inner = enlarged_tile[(top - outer_top) * factor :, (left - outer_left) * factor :]
                rows, columns = (bottom - top) * factor, (right - left) * factor
                enlarged[top * factor :, left * factor :][:rows, :columns] = inner[:rows, :columns]
        assert enlarged is not None
        return enlarged

    def _enlarge_tile(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1)))[None].to(self._device)
            enlarged = self._model(pixel_values=pixels).reconstruction[0]
            result: NDArray[np.float32] = enlarged.clamp(0, 1).float().cpu().numpy().transpose(1, 2, 0)
        return result
