"""Edit the masked area of an image: remove its content, and draw the subjects of the prompt there."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Batch, ReferenceImage
from framehouse.engines.masked_canvas import draw_masked_canvas
from framehouse.engines.previz.panel import draw_panel
from framehouse.engines.previz.sprites import Pixels, Plane

_FILL_PX = 256
"""The longer side of the image in which the surroundings are continued. The continuation is smooth, so it needs no
details."""
_AREA_PX = 128
_MIN_PATCH_PX = 16
_CELLS_PX, _ROUNDS = (64, 32, 16, 8, 4, 2, 1), 60
_SMALLEST_SHARE = np.float32(1e-6)
_UNVISITED, _CURRENT = 255, 128
_ONLY_CURRENT = [255 if value == _CURRENT else 0 for value in range(256)]
_ONLY_UNVISITED = [255 if value == _UNVISITED else 0 for value in range(256)]
_REPLACED = re.compile(
    r"\b(?:replace|swap|exchange|turn|change)\b[^.,;!?]*?\b(?:with|by|for|into)\b|把?[^，。；！？]{1,30}(?:换成|替换为|替换成|变成)",
    re.I,
)
"""The part of a prompt that names the content to replace, such as "replace the boat with"."""
_REMOVES = re.compile(r"\W*(?:please\s+)?(?:remove|erase|delete)\b|.*(?:去掉|删除|移除|擦除)", re.I | re.S)


def edit_image(shot: Shot, batch: Batch) -> Pixels:
    """Edit the first reference of a batch with a mask. Returns an RGB array of shape (height, width, 3).

    The result has the size of the batch. The colours around the masked area are continued into it. If the mask has
    several separate areas, the subjects are drawn in the largest area. If the prompt requests to remove something,
    nothing is drawn. Raises Broken if a reference is damaged.
    """
    image, mask = draw_masked_canvas(batch, batch.size)
    edited = np.asarray(mask) >= 128
    canvas = np.array(image)
    filled = np.asarray(_fill(image, mask))
    canvas[edited] = filled[edited]
    box = _largest_area(mask)
    if not _REMOVES.match(shot.prompt) and min(box[2] - box[0], box[3] - box[1]) >= _MIN_PATCH_PX:
        patch = _draw_patch(shot, batch, Image.fromarray(canvas).crop(box))
        rows, columns = slice(box[1], box[3]), slice(box[0], box[2])
        inside = edited[rows, columns]
        canvas[rows, columns][inside] = patch[inside]
    return canvas


def _draw_patch(shot: Shot, batch: Batch, background: Image.Image) -> Pixels:
    """Draw the subjects of the prompt, and the other references and elements, on the background."""
    shot = replace(shot, prompt=_REPLACED.sub(" ", shot.prompt, count=1).strip() or shot.prompt)
    scene = ReferenceImage(png_file(background), *background.size, "scene")
    references: Sequence[ReferenceImage] = (scene, *batch.references[1:])
    size = Size(*background.size)
    return draw_panel(shot, batch.image_count, size, references, batch.elements, patch=True)


def _fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return an image of the same size in which the colours at the edges of the masked area continue into this area.

    Each masked pixel becomes the mean of its neighbours. Small copies of the image are filled first, because the mean
    then needs only a few rounds to spread.
    """
    scale = min(1.0, _FILL_PX / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    kept = np.asarray(mask.resize((width, height), Image.Resampling.BOX)) == 0
    colours = np.asarray(image.resize((width, height), Image.Resampling.BOX)).astype(np.float32)
    weights = kept.astype(np.float32)
    planes = [np.multiply(colours[..., channel], weights, dtype=np.float32) for channel in range(3)]
    filled = [np.full((1, 1), 128, np.float32)] * 3
    for cell in _CELLS_PX:
        cells = (max(1, width // cell), max(1, height // cell))
        shares = _scaled(weights, cells)
        for channel, plane in enumerate(planes):
            means = np.divide(_scaled(plane, cells), np.maximum(shares, _SMALLEST_SHARE), dtype=np.float32)
            filled[channel] = _spread(means, shares > 0, _scaled(filled[channel], cells))
    pixels = np.stack(filled, axis=2).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize(image.size, Image.Resampling.BICUBIC)


def _spread(known_values: Plane, known: NDArray[np.bool_], start: Plane) -> Plane:
    """Return the known values, and for all other pixels the mean of their neighbours, which is computed in rounds.

    `start` contains the first estimate of the unknown values.
    """
    values: Plane = np.where(known, known_values, start)
    for _ in range(_ROUNDS):
        padded = np.pad(values, 1, mode="edge")
        neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        values = np.where(known, known_values, neighbours / np.float32(4))
    return values


def _scaled(plane: Plane, size: tuple[int, int]) -> Plane:
    larger = size[0] > plane.shape[1] or size[1] > plane.shape[0]
    resampling = Image.Resampling.BILINEAR if larger else Image.Resampling.BOX
    return np.asarray(Image.fromarray(plane).resize(size, resampling))


def _largest_area(mask: Image.Image) -> tuple[int, int, int, int]:
    """Return the bounding box (left, top, right, bottom) of the largest connected area of the mask, in pixels."""
    small = mask.copy()
    small.thumbnail((_AREA_PX, _AREA_PX), Image.Resampling.BOX)
    areas = small.point([0] + [_UNVISITED] * 255)
    largest, most = (0, 0, small.width, small.height), 0
    while (unvisited := np.asarray(areas) == _UNVISITED).any():
        y, x = divmod(int(unvisited.argmax()), areas.width)
        ImageDraw.floodfill(areas, (x, y), _CURRENT)
        area = areas.point(_ONLY_CURRENT)
        if (pixels := int(np.count_nonzero(np.asarray(area)))) > most and (box := area.getbbox()):
            largest, most = box, pixels
        areas = areas.point(_ONLY_UNVISITED)
    across, down = mask.width / small.width, mask.height / small.height
    left, top, right, bottom = largest
    right, bottom = min(mask.width, round(right * across)), min(mask.height, round(bottom * down))
    return int(left * across), int(top * down), right, bottom
