"""Pictures made larger by a model, in tiles that fit anywhere. Runs in the spawned process."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TILE_PX, _AROUND_PX = 256, 16


class Upscaler:
    """A super-resolution model of transformers (Swin2SR and its like) from a folder, in 32 bits: it is small."""

    def __init__(self, folder: str, device: str) -> None:
        import torch
        from transformers import AutoModelForImageToImage

        self._device = device
        self._model: Any = AutoModelForImageToImage.from_pretrained(  # nosec B615 - nothing is downloaded: see hub.py
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        self._model.to(device).eval()

    def enlarge(self, image: NDArray[np.float32], on_tile: Callable[[], None]) -> NDArray[np.float32]:
        """The picture, (height, width, 3) from 0 to 1, as many times as large as the model makes it. Each tile sees its
        surroundings, so that no seams show; `on_tile` may raise."""
        height, width = image.shape[:2]
        large: NDArray[np.float32] | None = None
        for top in range(0, height, _TILE_PX):
            for left in range(0, width, _TILE_PX):
                on_tile()
                above, before = max(0, top - _AROUND_PX), max(0, left - _AROUND_PX)
                bottom, right = min(height, top + _TILE_PX), min(width, left + _TILE_PX)
                seen = image[above : bottom + _AROUND_PX, before : right + _AROUND_PX]
                made = self._one(seen)
                factor = made.shape[0] // seen.shape[0]
                if large is None:
                    large = np.empty((height * factor, width * factor, 3), np.float32)
                inner = made[(top - above) * factor :, (left - before) * factor :]
                rows, columns = (bottom - top) * factor, (right - left) * factor
                large[top * factor :, left * factor :][:rows, :columns] = inner[:rows, :columns]
        assert large is not None
        return large

    def _one(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(tile.transpose(2, 0, 1)))[None].to(self._device)
            made = self._model(pixel_values=given).reconstruction[0]
            result: NDArray[np.float32] = made.clamp(0, 1).float().cpu().numpy().transpose(1, 2, 0)
        return result
