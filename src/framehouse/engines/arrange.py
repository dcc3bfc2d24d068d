"""Prepare the input of a model: numbered images, and a prompt that refers to each image by its number.

This module is for models that accept fewer input images than a task can have, or whose prompts need a different syntax
for citations. Every reference and every element is used. If the references, frontal images and first frame exceed the
limit of the model, the last references and elements share one contact sheet. The metadata of the generated image
describes the contact sheet.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from framehouse.domain.prompt import Cited, prompt_parts
from framehouse.domain.shot import Shot
from framehouse.engines.image_files import decode_reference_rgb, png_file
from framehouse.engines.interface import Batch
from framehouse.engines.series_look import subject_box

_CELL_PX, _GAP_PX = 512, 16
_MIN_CROP_PX = 64
"""The smallest allowed width and height of a crop. Some models refuse smaller images."""


@dataclass(frozen=True, slots=True)
class ArrangedImages:
    """The input images of a batch, prepared for one model.

    `files` contains the files of the input images in order. All files are unchanged input files, except that one file
    may be a contact sheet (a PNG file that shows several images). `names` maps each reference and element to its name
    in the prompt. `first_frame_name` is the name of the first frame of a series, or empty if there is no first frame.
    `subject_name` is the name of the crop of the first frame that shows its subject, or empty if there is no crop.
    `contact_sheet` is the description of the contact sheet in the metadata, or empty if there is no contact sheet.
    """

    files: tuple[bytes, ...]
    names: Mapping[Cited, str]
    first_frame_name: str = ""
    subject_name: str = ""
    contact_sheet: str = ""


def arrange_images(
    batch: Batch, *, max_images: int, cite: str = "image {}", first_frame: bytes = b"", crop_subject: bool = False
) -> ArrangedImages:
    """Arrange `first_frame` and the references and elements of a batch in at most `max_images` files.

    `max_images` must be at least 1. `cite` is the text that refers to an image in the prompts of the model. In this
    text, `{}` stands for the number of the image, counted from 1. `first_frame` is the file of the first frame of a
    series, or empty if there is no first frame. If `crop_subject` is true and the limit allows one more file, the last
    file is a crop of the first frame that shows its subject. Drawing and cropping block the calling thread.

    The files are in this order: the references, the frontal image of each element, the first frame, and further images
    of the elements up to the limit. If the references, the frontal images and the first frame exceed the limit, the
    last references and elements share a contact sheet. The further images of elements are then omitted. If `max_images`
    is 1, the contact sheet also contains the first frame.
    """
    images = [(Cited("image", i), r.content) for i, r in enumerate(batch.references)]
    images += [(Cited("element", i), e.images[0].content) for i, e in enumerate(batch.elements)]
    frames = [first_frame] if first_frame else []
    limit = max_images - len(frames)
    if limit < 1:
        images, frames, limit = [*images, (Cited("frame", 0), first_frame)], [], max_images
    tiled = images[limit - 1 :] if len(images) > limit else []
    untiled = images[: len(images) - len(tiled)]
    files = [content for _, content in untiled]
    names = {cited: cite.format(number) for number, (cited, _) in enumerate(untiled, 1)}
    contact_sheet = ""
    if tiled:
        files.append(draw_contact_sheet([content for _, content in tiled]))
        columns = _columns(len(tiled))
        sheet_name = cite.format(len(files))
        for position, (cited, _) in enumerate(tiled):
            names[cited] = f"row {position // columns + 1}, column {position % columns + 1} of {sheet_name}"
        contact_sheet = (
            f"{len(tiled)} references are tiled onto image {len(files)}, "
            f"because the model accepts at most {max_images} image{'' if max_images == 1 else 's'}"
        )
    first_frame_name = names.pop(Cited("frame", 0), "")
    if frames:
        files += frames
        first_frame_name = cite.format(len(files))
    for index, element in enumerate(batch.elements):
        more = [] if tiled else element.images[1 : 1 + max_images - len(files)]
        numbers = [cite.format(len(files) + number) for number in range(1, len(more) + 1)]
        files += [image.content for image in more]
        names[Cited("element", index)] = ", ".join([names[Cited("element", index)], *numbers])
    subject = _subject_of(first_frame) if crop_subject and first_frame and len(files) < max_images else b""
    files += [subject] * bool(subject)
    subject_name = cite.format(len(files)) if subject else ""
    return ArrangedImages(tuple(files), names, first_frame_name, subject_name, contact_sheet)


def build_prompt(shot: Shot, batch: Batch, arranged: ArrangedImages) -> str:
    """Return the shot's prompt with each citation replaced by the name of its input image.

    Sentences are appended for uncited elements, for the descriptions of elements, and for the framing. If there is a
    first frame, another sentence requests the same content and style as in the first frame.
    """
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
    added = []
    for index, element in enumerate(batch.elements):
        citation = Cited("element", index)
        if citation not in cited:
            added.append(f"With {element.name} ({arranged.names[citation]})")
        if element.description and element.description != element.name:
            added.append(f"{element.name}: {element.description}")
    if shot.framing:
        added.append(shot.framing.capitalize())
    if arranged.first_frame_name:
        detail = f", whose subject is shown in {arranged.subject_name}" if arranged.subject_name else ""
        added.append(f"Same people, things, place and style as in {arranged.first_frame_name}{detail}")
    if not added:
        return text
    end = "" if text.endswith((".", "!", "?", "。", "！", "？", "…")) else "."
    return " ".join([text + end, *(f"{sentence.rstrip('.。')}." for sentence in added)])


def draw_contact_sheet(contents: Sequence[bytes]) -> bytes:
    """Draw the images row by row in a grid on a white background, and return a PNG file."""
    columns = _columns(len(contents))
    rows = math.ceil(len(contents) / columns)
    step = _CELL_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * step + _GAP_PX, rows * step + _GAP_PX), "white")
    for position, content in enumerate(contents):
        image = decode_reference_rgb(content, max_px=_CELL_PX)
        left = _GAP_PX + position % columns * step + (_CELL_PX - image.width) // 2
        top = _GAP_PX + position // columns * step + (_CELL_PX - image.height) // 2
        sheet.paste(image, (left, top))
    return png_file(sheet)


def _subject_of(first_frame: bytes) -> bytes:
    """Return a PNG file of the subject of an image, or empty bytes if no subject can be found."""
    image = decode_reference_rgb(first_frame)
    box = subject_box(image)
    if box is None or min(box.width, box.height) < _MIN_CROP_PX:
        return b""
    return png_file(image.crop((box.left, box.top, box.left + box.width, box.top + box.height)))


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))
