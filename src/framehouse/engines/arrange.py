"""What a model gets to see and to read: numbered pictures, and a prompt that names them.

For models that know no citations and take fewer pictures than a task may have: nothing is dropped, what is too much
is tiled onto one contact sheet, and that is said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from framehouse.domain.prompt import Cited, prompt_parts
from framehouse.domain.shot import Shot
from framehouse.engines.image_files import png_file, upright
from framehouse.engines.interface import Batch

_CELL_PX, _GAP_PX = 512, 16


@dataclass(frozen=True, slots=True)
class Arranged:
    """A batch's pictures for one model.

    `files` are what the model is shown, in order: as they were sent, or a contact sheet (PNG). `names` says how each
    reference and element is called in the prompt, `frame` how a series' first frame is (empty where there is none).
    `sheet` tells what was tiled, for the picture's metadata (empty where nothing was).
    """

    files: tuple[bytes, ...]
    names: Mapping[Cited, str]
    frame: str = ""
    sheet: str = ""


def arrange(batch: Batch, *, most: int, cite: str = "image {}", first_frame: bytes = b"") -> Arranged:
    """Bring a batch's references, elements and `first_frame` into at most `most` (1 or more) pictures.

    `cite` is how this model calls its pictures by number, from 1. References come first, in their order, then each
    element's frontal picture, then the first frame, then as many of the elements' other pictures as there is room for.
    Where these are too many, the last picture is a contact sheet of the references and elements that have no place of
    their own. Blocking where there is a sheet.
    """
    sent = [(Cited("image", i), r.content) for i, r in enumerate(batch.references)]
    sent += [(Cited("element", i), e.images[0].content) for i, e in enumerate(batch.elements)]
    frames = [first_frame] if first_frame else []
    room = most - len(frames)
    if room < 1:
        sent, frames, room = [*sent, (Cited("frame", 0), first_frame)], [], most
    tiled = sent[room - 1 :] if len(sent) > room else []
    whole = sent[: len(sent) - len(tiled)]
    files = [content for _, content in whole]
    names = {cited: cite.format(number) for number, (cited, _) in enumerate(whole, 1)}
    sheet = ""
    if tiled:
        files.append(contact_sheet([content for _, content in tiled]))
        across = _across(len(tiled))
        place = cite.format(len(files))
        for position, (cited, _) in enumerate(tiled):
            names[cited] = f"row {position // across + 1}, column {position % across + 1} of {place}"
        sheet = f"{len(tiled)} references are tiled on picture {len(files)}, because the model takes {most}"
    frame = names.pop(Cited("frame", 0), "")
    if frames:
        files += frames
        frame = cite.format(len(files))
    for index, element in enumerate(batch.elements):
        more = [] if tiled else element.images[1 : 1 + most - len(files)]
        numbers = [cite.format(len(files) + number) for number in range(1, len(more) + 1)]
        files += [image.content for image in more]
        names[Cited("element", index)] = ", ".join([names[Cited("element", index)], *numbers])
    return Arranged(tuple(files), names, frame, sheet)


def worded(shot: Shot, batch: Batch, arranged: Arranged) -> str:
    """The shot's prompt for a model: citations as the model's own words for its pictures, what elements are, the
    framing, and what a later frame of a series has in common with the first."""
    counts = {"images": len(batch.references), "elements": len(batch.elements)}
    words, cited = [], set()
    for part in prompt_parts(shot.prompt, **counts):
        if isinstance(part, str):
            words.append(part)
            continue
        cited.add(part)
        name = arranged.names[part]
        words.append(f"{batch.elements[part.index].name} ({name})" if part.kind == "element" else name)
    text = "".join(words).strip()
    after = []
    for index, element in enumerate(batch.elements):
        one = Cited("element", index)
        if one not in cited:
            after.append(f"With {element.name} ({arranged.names[one]})")
        if element.description and element.description != element.name:
            after.append(f"{element.name}: {element.description}")
    if shot.framing:
        after.append(shot.framing.capitalize())
    if arranged.frame:
        after.append(f"Same people, things, place and style as in {arranged.frame}")
    if not after:
        return text
    end = "" if text.endswith((".", "!", "?", "。", "！", "？", "…")) else "."
    return " ".join([text + end, *(f"{sentence.rstrip('.。')}." for sentence in after)])


def contact_sheet(contents: Sequence[bytes]) -> bytes:
    """The pictures in a grid on white, row by row, as a PNG file."""
    across = _across(len(contents))
    down = math.ceil(len(contents) / across)
    step = _CELL_PX + _GAP_PX
    sheet = Image.new("RGB", (across * step + _GAP_PX, down * step + _GAP_PX), "white")
    for position, content in enumerate(contents):
        image = upright(content, most_px=_CELL_PX)
        left = _GAP_PX + position % across * step + (_CELL_PX - image.width) // 2
        top = _GAP_PX + position // across * step + (_CELL_PX - image.height) // 2
        sheet.paste(image, (left, top))
    return png_file(sheet)


def _across(count: int) -> int:
    return math.ceil(math.sqrt(count))
