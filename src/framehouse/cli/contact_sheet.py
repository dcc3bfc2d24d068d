"""Draw a contact sheet: one image that shows several images."""

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from framehouse.adapters.fonts import draw_text

_CELL_PX, _GAP_PX, _TEXT_PX = 640, 16, 24
_BACKGROUND, _TEXT = (24, 24, 28), (235, 235, 235)


def contact_sheet(files: Sequence[Path], captions: Sequence[str] = ()) -> Image.Image:
    """Return one image that shows all images in order, with at most three images per row.

    If there are captions, each image has a line of text below it.
    """
    tiles = []
    for file in files:
        with Image.open(file) as image:
            tile = image.convert("RGB")
            tile.thumbnail((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            tiles.append(tile)
    columns = len(tiles) if len(tiles) <= 3 else 2 if len(tiles) == 4 else 3
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    row_height = height + (2 * _TEXT_PX if captions else 0) + _GAP_PX
    rows = math.ceil(len(tiles) / columns)
    sheet = Image.new("RGB", (_GAP_PX + columns * (width + _GAP_PX), _GAP_PX + rows * row_height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        left, top = _GAP_PX + column * (width + _GAP_PX), _GAP_PX + row * row_height
        sheet.paste(tile, (left, top))
        if captions:
            draw_text(draw, left, top + height + _TEXT_PX, captions[index], _TEXT_PX, _TEXT)
    return sheet
