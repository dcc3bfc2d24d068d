"""The reference probe, which tests whether a server uses several references, one reference, or no references."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from framehouse.domain.errors import Broken
from framehouse.engines.error_replies import error_details
from framehouse.engines.http_exchange import Reply
from framehouse.engines.image_files import ImageFile, png_file
from framehouse.engines.openai_images.returned_images import ReturnedImage, decode_images

PROBE_PROMPT = "Both things side by side on a white table"
_REFUSAL_STATUSES = {400, 404, 405, 413, 415, 422, 500, 501}
_MAX_MEAN_DIFFERENCE = 0.25

Edit = Callable[[Sequence[bytes]], Awaitable[Reply]]


class ProbeFailed(Exception):
    """Raised when the server returns no response that the probe can use. The probe may be repeated."""


@dataclass(frozen=True, slots=True)
class ReferenceSupport:
    """The result of a probe.

    `max_references` is the maximum number of references in one request, or 0 if the server accepts no references.
    `problem` completes a sentence that begins with "the server", and is empty if the server accepts references as
    configured. `final` is false if the probe must be repeated.
    """

    max_references: int
    problem: str = ""
    final: bool = True


async def probe(
    edit: Edit, *, max_references: int, seeded: bool, decode: Callable[[bytes], Awaitable[ReturnedImage]]
) -> ReferenceSupport:
    """Request up to three small images with the same seed: from reference A, from A again, and from A and B.

    If the server refuses A, the result is 0 references. If the server refuses only A and B together, the result is one
    reference. If A and B together produce the same image as A alone, the server drops the second reference, so the
    result is also one reference. If the two requests with A alone produce different images, the probe cannot detect
    dropped references. The `problem` of the result then describes this limitation.

    If `seeded` is false, the server does not accept a seed in edit requests. In this case, or if `max_references` is 1,
    only the first image is requested. Raises ProbeFailed if a response is neither an image nor a refusal. Exceptions
    raised by `edit` are propagated.
    """
    first = await _try_edit(edit, [_reference_a()], decode)
    if isinstance(first, str):
        return ReferenceSupport(0, f"accepts no references ({first})", final=False)
    if max_references < 2:
        return ReferenceSupport(max_references)
    unknown = ReferenceSupport(
        max_references,
        "may drop references, and the probe cannot detect this, because edits ignore the seed; "
        f"up to {max_references} references are sent",
    )
    if not seeded:
        return unknown
    again = await _try_edit(edit, [_reference_a()], decode)
    both = await _try_edit(edit, [_reference_a(), _reference_b()], decode)
    if isinstance(both, str):
        return ReferenceSupport(
            1, f"accepts only one reference ({both}); several references are tiled onto one contact sheet"
        )
    if isinstance(again, str) or not _same_image(first, again):
        return unknown
    if _same_image(first, both):
        return ReferenceSupport(
            1, "drops every reference after the first; several references are tiled onto one contact sheet"
        )
    return ReferenceSupport(max_references)


async def _try_edit(
    edit: Edit, references: Sequence[bytes], decode: Callable[[bytes], Awaitable[ReturnedImage]]
) -> ReturnedImage | str:
    """Return the image, or the server's reason for its refusal. Raises ProbeFailed for any other response."""
    reply = await edit(references)
    if reply.status == 200:
        try:
            return await decode(reply.body)
        except Broken as error:
            raise ProbeFailed(error.message) from error
    if reply.status in _REFUSAL_STATUSES:
        message = error_details(reply.body).message
        return f"HTTP {reply.status}" + (f": {message}" if message else "")
    raise ProbeFailed(f"HTTP {reply.status}")


def decode_single_image(body: bytes) -> ReturnedImage:
    """Return the image in the response to a probe request. Blocks the calling thread."""
    (image,) = decode_images(body, 1).images
    assert image is not None  # only `read_images` returns None for an image
    return image


def _same_image(one: ReturnedImage, other: ReturnedImage) -> bool:
    """Return whether two images are equal except for rounding errors."""
    first, second = (image.decoded() if isinstance(image, ImageFile) else image for image in (one.image, other.image))
    if first.shape != second.shape:
        return False
    return float(np.abs(first.astype(np.int16) - second).mean()) < _MAX_MEAN_DIFFERENCE


def _reference_a() -> bytes:
    image = Image.new("RGB", (512, 512), (250, 250, 245))
    ImageDraw.Draw(image).ellipse((96, 96, 416, 416), fill=(200, 30, 30))
    return png_file(image)


def _reference_b() -> bytes:
    image = Image.new("RGB", (512, 512), (20, 60, 160))
    ImageDraw.Draw(image).polygon(((256, 60), (460, 440), (52, 440)), fill=(250, 210, 40))
    return png_file(image)
