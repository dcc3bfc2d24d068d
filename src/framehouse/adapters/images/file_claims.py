"""Read everything that a file states about the origin of its image. Only the process of `decode` calls this module."""

import io

from PIL import Image

from framehouse.adapters.images.credentials import read_credentials
from framehouse.adapters.images.file_metadata import FileMetadata
from framehouse.adapters.images.perceptual_hash import hashes_to_find
from framehouse.adapters.reference_files.header import BadImage, read_header
from framehouse.adapters.reference_files.open_image import open_image
from framehouse.domain.reference import MAX_PIXELS
from framehouse.domain.verification import MAX_VERIFIED_BYTES, FileClaims

_HASHED_PX = 512
"""The longer side of the image of which the hash is computed, in pixels, like a preview."""


def read_claims(content: bytes, anchors: bytes) -> FileClaims:
    """Read the claims of an image file. `anchors` contains certificates as in `read_credentials`.

    The image may be smaller than a reference, and have any aspect ratio. Raises BadImage if the file is not an image,
    is too large, or has no credentials and cannot be decoded.
    """
    if not content:
        raise BadImage("is empty")
    if len(content) > MAX_VERIFIED_BYTES:
        raise BadImage(f"has {len(content):,} bytes; at most {MAX_VERIFIED_BYTES:,} are allowed")
    header = read_header(io.BytesIO(content))
    if header.width * header.height > MAX_PIXELS:
        raise BadImage(
            f"is {header.width}x{header.height} px; at most {MAX_PIXELS // 1_000_000} megapixels are allowed"
        )
    metadata, credentials = FileMetadata(content), read_credentials(content, anchors)
    try:
        hashes = hashes_to_find(_small_rgb(content))
    except BadImage:
        if credentials is None:
            raise
        hashes = ()  # the signature shows that the file was changed, even if its pixels cannot be decoded any more
    return FileClaims(
        credentials=credentials,
        facts=metadata.facts,
        source_type=metadata.source_type,  # type: ignore[arg-type]
        label=metadata.label,
        hashes=tuple(hash.hex() for hash in hashes),
    )


def _small_rgb(content: bytes) -> Image.Image:
    image = open_image(content, max_px=_HASHED_PX)
    if factor := max(image.size) // _HASHED_PX:
        image = image.reduce(factor)
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
