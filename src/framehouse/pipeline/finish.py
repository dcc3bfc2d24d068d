"""Convert a generated image to files: resize the image, add a watermark, and encode the image with metadata."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.encode import MEDIA_TYPES, Format, build_png, encode
from framehouse.adapters.images.image_metadata import describe
from framehouse.adapters.images.image_upscaler import UPSCALER
from framehouse.adapters.images.preview import create_preview
from framehouse.adapters.images.resize import resize_and_crop
from framehouse.adapters.images.watermark import add_watermark
from framehouse.domain.expansion import Box
from framehouse.domain.provenance import DigitalSourceType, finished_source_type
from framehouse.domain.shot import FinishedImage
from framehouse.domain.sizes import Size
from framehouse.domain.watermark_text import watermark_text_for
from framehouse.engines.image_files import Png, decode_reference_rgb

ExplicitLabel = Literal["watermark", "always"]


@dataclass(frozen=True, slots=True)
class Finishing:
    """The settings for finishing images.

    `software` is the name and version of this software in the metadata. `watermark_logo` is the content of an image
    file. If `watermark_logo` is empty, the watermark is `watermark_text`. If both are empty, the watermark is a text in
    the language of the prompt. `label_producer` is the code of the operator for the implicit label. If this code is
    empty, files have no implicit label. If `explicit_label` is `always`, the watermark is in all files of an image.
    """

    software: str
    format: Format = "png"
    quality: int = 92
    watermark_text: str = ""
    watermark_logo: bytes = b""
    label_producer: str = ""
    explicit_label: ExplicitLabel = "watermark"


def finish(
    image: NDArray[np.uint8] | Png,
    size: Size,
    facts: Mapping[str, object],
    finishing: Finishing,
    *,
    source_type: DigitalSourceType,
    watermark: bool,
    prompt: str = "",
    label: Mapping[str, str] | None = None,
    original: tuple[bytes, Box] | None = None,
    upscaled: NDArray[np.uint8] | None = None,
) -> FinishedImage:
    """Convert an image of any size to a file of exactly `size` pixels.

    The metadata of the file contains `facts`, which describe how the image was generated, and the source type of the
    finished image. `source_type` is the source type that the engine states. If `watermark` is true, the
    result also contains a second file with a watermark. If the image is an expanded image, `original` contains the file
    of the original image, and the box that the original image fills in the expanded image. In this case, the pixels of
    the original image replace the pixels in this box. The result also contains a preview.

    `label` is the implicit label in the metadata of all files, or None. If `finishing.explicit_label` is `always`, the
    image and the preview also have the watermark, and the second file is identical to the first. `prompt` is the prompt
    of the task, which determines the language of the watermark.

    `upscaled` is the image after a neural network has enlarged it, or None. These pixels are resized to `size`.

    This function blocks, so call it in a thread. A PNG of the right size is not encoded again if the output format is
    PNG, `original` is None, and no file has a watermark.
    """
    always = finishing.explicit_label == "always"
    if isinstance(image, Png):
        if finishing.format == "png" and not (watermark or always or original) and (image.width, image.height) == size:
            metadata = describe(facts, software=finishing.software, source_type=source_type, label=label)
            file = build_png(image.data, *size, metadata)
            preview, thumb_hash = create_preview(image.decoded(), metadata.xmp)
            return FinishedImage(file, b"", MEDIA_TYPES["png"], size, preview, thumb_hash)
        image = image.decoded()
    facts = dict(facts)
    generated_height, generated_width = image.shape[:2]
    enlarged = generated_width < size.width and generated_height < size.height
    if (generated_width, generated_height) != size:
        facts["resized_from"] = f"{generated_width}x{generated_height}"
    if upscaled is not None:
        facts["upscaled_by"] = UPSCALER
    pixels = resize_and_crop(image if upscaled is None else upscaled, size)
    if original:
        pixels = _with_original(pixels, *original)
    finished_type = finished_source_type(source_type, expanded=original is not None, upscaled=upscaled is not None)
    metadata = describe(facts, software=finishing.software, source_type=finished_type, label=label)
    encode_file = partial(
        encode, format=finishing.format, metadata=metadata, quality=finishing.quality, enlarged=enlarged
    )
    mark = partial(
        add_watermark, text=finishing.watermark_text or watermark_text_for(prompt), logo=finishing.watermark_logo
    )
    if always:
        pixels, _ = mark(pixels)
    clean = encode_file(pixels)
    watermarked = clean.content if watermark else b""
    if watermark and not always:
        copy, rows = mark(pixels)
        watermarked = encode_file(copy, like=clean, changed_rows=rows).content
    preview, thumb_hash = create_preview(pixels, metadata.xmp)
    return FinishedImage(clean.content, watermarked, MEDIA_TYPES[finishing.format], size, preview, thumb_hash)


def _with_original(pixels: NDArray[np.uint8], content: bytes, box: Box) -> NDArray[np.uint8]:
    """Return a copy of the pixels in which the original image fills `box`. Transparent areas become white."""
    image = decode_reference_rgb(content)
    if image.size != (box.width, box.height):
        image = image.resize((box.width, box.height), Image.Resampling.LANCZOS)
    expanded = pixels.copy()
    expanded[box.top : box.top + box.height, box.left : box.left + box.width] = np.asarray(image)
    return expanded
