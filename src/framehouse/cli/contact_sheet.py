"""Draw a contact sheet: one image that shows several images."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from framehouse.adapters.fonts import draw_text, text_width
from framehouse.cli.output_files import write_file

_CELL_PX, _GAP_PX, _TEXT_PX = 640, 16, 24
_BACKGROUND, _TEXT = (24, 24, 28), (235, 235, 235)


def write_contact_sheet(path: Path, files: Sequence[Path], captions: Sequence[str] = ()) -> None:
    """Write the contact sheet of the images as a PNG file. Raises Problem if the disk refuses this."""
    buffer = io.BytesIO()
    contact_sheet(files, captions).save(buffer, "PNG")
    write_file(path, buffer.getvalue())


def contact_sheet(files: Sequence[Path], captions: Sequence[str] = ()) -> Image.Image:
    """Return one image that shows all images in order, with at most three images per row.

    If there are captions, each image has a line of text below it. A long line has smaller letters.
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
            caption = captions[index]
            size = min(_TEXT_PX, int(_TEXT_PX * width / max(1.0, text_width(caption, _TEXT_PX))))
            draw_text(draw, left, top + height + _TEXT_PX, caption, size, _TEXT)
    return sheet
