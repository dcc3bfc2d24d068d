"""Raw picture -> files: exact size, watermark copy, encoding, the facts of the making."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.images.encode import MEDIA_TYPES, Format, encode, png_around
from framehouse.adapters.images.resize import fit
from framehouse.adapters.images.watermark import mark
from framehouse.domain.shot import Finished
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import Png


@dataclass(frozen=True, slots=True)
class Finishing:
    """How pictures leave the house. `tool` names us in their metadata; `watermark_logo` is an image file's content."""

    tool: str
    format: Format = "png"
    quality: int = 92
    watermark_text: str = "AI generated"
    watermark_logo: bytes = b""


def finish(
    image: NDArray[np.uint8] | Png, size: Size, facts: Mapping[str, object], how: Finishing, *, watermark: bool
) -> Finished:
    """A picture of any size as files of exactly `size`. Blocking: runs in a thread. Pixels that came packed as we would
    pack them, in the right size, stay so."""
    facts = {**facts, "ai": "made by AI"}
    if isinstance(image, Png):
        if how.format == "png" and not watermark and (image.width, image.height) == size:
            file = png_around(image.data, *size, facts, tool=how.tool)
            return Finished(file, b"", MEDIA_TYPES["png"], size)
        image = image.decoded()
    pixels = image
    generated_height, generated_width = pixels.shape[:2]
    enlarged = generated_width < size.width and generated_height < size.height
    if (generated_width, generated_height) != size:
        facts["resized_from"] = f"{generated_width}x{generated_height}"
    pixels = fit(pixels, size)
    write = partial(encode, format=how.format, facts=facts, tool=how.tool, quality=how.quality, enlarged=enlarged)
    clean = write(pixels)
    marked = b""
    if watermark:
        copy, rows = mark(pixels, how.watermark_text, how.watermark_logo)
        marked = write(copy, like=clean, changed_rows=rows).content
    return Finished(clean.content, marked, MEDIA_TYPES[how.format], size)
