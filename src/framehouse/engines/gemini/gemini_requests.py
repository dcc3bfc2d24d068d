"""Build the body of a request to generateContent."""

import io
import json
from collections.abc import Sequence

import pybase64
from PIL import Image

from framehouse.domain.sizes import Size, nearest_ratio, resolution_for
from framehouse.engines.image_files import decode_reference_rgb
from framehouse.engines.plain_file import plain_file

MAX_FILE_BYTES = 14_000_000
"""The maximum total size of all references. In base64, they occupy 18.7 MB. A request may have 20 MB."""
_REDUCED_PX = (3072, 2048, 1536, 1024)
"""The lengths of the longer side to which large references are reduced, one after another."""


def request_body(
    prompt: str, files: Sequence[bytes], size: Size, *, max_resolution: str, convert_colours: bool
) -> bytes:
    """Return the JSON body of a request for one image. Blocks the calling thread.

    `files` are the references, which come before the prompt. A request to a model that generates only images of one
    resolution (`max_resolution` is "1k") has no field `imageSize`, because such models refuse this field.
    """
    image_config = {"aspectRatio": nearest_ratio(*size)}
    if max_resolution != "1k":
        image_config["imageSize"] = resolution_for(size, max_resolution).upper()
    return json.dumps(
        {
            "contents": [{"role": "user", "parts": [*_inline_files(files, convert_colours), {"text": prompt}]}],
            "generationConfig": {"responseModalities": ["IMAGE"], "imageConfig": image_config},
        },
        ensure_ascii=False,
    ).encode()


def _inline_files(files: Sequence[bytes], convert_colours: bool) -> list[dict[str, object]]:
    plain = [plain_file(file, convert_colours=convert_colours, opaque=True) for file in files]
    if sum(map(len, plain)) > MAX_FILE_BYTES:
        plain = [reduced(file, MAX_FILE_BYTES // len(plain)) for file in plain]
    return [
        {
            "inlineData": {
                "mimeType": "image/png" if file.startswith(b"\x89PNG") else "image/jpeg",
                "data": pybase64.b64encode(file).decode(),
            }
        }
        for file in plain
    ]


def reduced(file: bytes, max_bytes: int) -> bytes:
    """Return the file, or a JPEG file with fewer pixels if the file has more than `max_bytes` bytes.

    Even the smallest JPEG file may be larger than `max_bytes`, but only for an image that consists of noise.
    """
    for max_px in _REDUCED_PX:
        if len(file) <= max_bytes:
            break
        file = _jpeg(decode_reference_rgb(file, max_px=max_px))
    return file


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
