"""What a server does with references: it takes several, drops all but the first, or takes none."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from framehouse.domain.errors import Broken
from framehouse.engines.image_files import Png, png_file
from framehouse.engines.openai_images.http_exchange import Reply, TaskImage, images, said

PROBE_PROMPT = "Both things side by side on a white table"
_NO = {400, 404, 405, 413, 415, 422, 500, 501}
_SAME = 0.25

Edit = Callable[[Sequence[bytes]], Awaitable[Reply]]


class NotProbed(Exception):
    """The server could not be asked now."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`most`: how many references it is given at once, 0 where it takes none. `told` goes on "server …"; empty where
    all is as configured. `final`: there is no need to look again."""

    most: int
    told: str = ""
    final: bool = True


async def probe(edit: Edit, *, most: int, seeded: bool, decode: Callable[[bytes], Awaitable[TaskImage]]) -> Finding:
    """Ask for one small picture from reference A, then once more, then from A and B, all with one seed.

    That A and B give what A alone gave means that the second was dropped. Where not even the same request gives the
    same picture, nothing can be told, and that is said. Raises NotProbed where the server is away or busy.
    """
    first = await _try(edit, [_thing_a()], decode)
    if isinstance(first, str):
        return Finding(0, f"takes no references ({first})", final=False)
    if most < 2:
        return Finding(most)
    unknown = Finding(most, f"may drop references: its edits ignore the seed, so it cannot be told; it is given {most}")
    if not seeded:
        return unknown
    again = await _try(edit, [_thing_a()], decode)
    both = await _try(edit, [_thing_a(), _thing_b()], decode)
    if isinstance(both, str):
        return Finding(1, f"takes one reference ({both}); several are put on one contact sheet")
    if isinstance(again, str) or not _alike(first, again):
        return unknown
    if _alike(first, both):
        return Finding(1, "drops every reference after the first; several are put on one contact sheet")
    return Finding(most)


async def _try(
    edit: Edit, references: Sequence[bytes], decode: Callable[[bytes], Awaitable[TaskImage]]
) -> TaskImage | str:
    """The picture, or what the server said against it."""
    reply = await edit(references)
    if reply.status == 200:
        try:
            return await decode(reply.body)
        except Broken as error:
            raise NotProbed(error.message) from error
    if reply.status in _NO:
        words, _ = said(reply.body)
        return f"HTTP {reply.status}" + (f": {words}" if words else "")
    raise NotProbed(f"HTTP {reply.status}")


def only_picture(body: bytes) -> TaskImage:
    """The one picture of a probe's answer. Blocking."""
    return images(body, 1)[0]


def _alike(one: TaskImage, other: TaskImage) -> bool:
    """Whether two pictures are the same but for rounding."""
    first, second = (made.decoded() if isinstance(made, Png) else made for made in (one.image, other.image))
    return first.shape == second.shape and float(np.abs(first.astype(np.int16) - second).mean()) < _SAME


def _thing_a() -> bytes:
    image = Image.new("RGB", (512, 512), (250, 250, 245))
    ImageDraw.Draw(image).ellipse((96, 96, 416, 416), fill=(200, 30, 30))
    return png_file(image)


def _thing_b() -> bytes:
    image = Image.new("RGB", (512, 512), (20, 60, 160))
    ImageDraw.Draw(image).polygon(((256, 60), (460, 440), (52, 440)), fill=(250, 210, 40))
    return png_file(image)
