"""Nothing that was sent is dropped, whatever a model takes; and the prompt says where each thing is."""

import io

import pytest
from PIL import Image

from framehouse.domain.errors import Broken
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.arrange import arrange_images, build_prompt
from framehouse.engines.image_files import decode_answer, decode_reference_rgb
from framehouse.engines.interface import Batch, ReferenceImage, SavedElement
from tests.support.image_files import image_file

COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250))


def image(number: int, *, width: int = 400, height: int = 300) -> ReferenceImage:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), COLOURS[number % len(COLOURS)]).save(buffer, "PNG")
    return ReferenceImage(buffer.getvalue(), width, height)


def batch(prompt: str, *, references: int = 0, elements: tuple[int, ...] = (), framing: str = "") -> Batch:
    return Batch(
        "task",
        (Shot(0, prompt, framing, 1),),
        1,
        Size(1024, 1024),
        tuple(image(n) for n in range(references)),
        tuple(
            SavedElement(f"Bag {n}", f"A bag, number {n}", tuple(image(k) for k in range(count)))
            for n, count in enumerate(elements)
        ),
    )


def words(wanted: Batch, *, most: int, cite: str = "image {}", first_frame: bytes = b"") -> str:
    arranged = arrange_images(wanted, max_images=most, cite=cite, first_frame=first_frame)
    return build_prompt(wanted.shots[0], wanted, arranged)


def test_what_fits_is_shown_as_it_was_sent() -> None:
    wanted = batch("<<<image_2>>> on <<image_1>>", references=2)
    shown = arrange_images(wanted, max_images=4)
    assert shown.files == tuple(r.content for r in wanted.references)
    assert shown.contact_sheet == ""
    assert words(wanted, most=4) == "image 2 on image 1"
    assert words(wanted, most=4, cite="Picture {}") == "Picture 2 on Picture 1"


def test_elements_are_named_and_described_and_use_the_room_that_is_left() -> None:
    wanted = batch("a fox with <<<element_1>>>", references=1, elements=(3, 1))
    shown = arrange_images(wanted, max_images=4)
    assert len(shown.files) == 4
    assert words(wanted, most=4) == (
        "a fox with Bag 0 (image 2, image 4). Bag 0: A bag, number 0. With Bag 1 (image 3). Bag 1: A bag, number 1."
    )


@pytest.mark.parametrize("most", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("frame", [b"", image_file()])
def test_whatever_a_model_takes_each_thing_is_on_one_of_its_pictures(most: int, frame: bytes) -> None:
    wanted = batch(" ".join(f"<<<image_{n}>>>" for n in range(1, 7)), references=6, elements=(2, 2, 1, 1))
    shown = arrange_images(wanted, max_images=most, first_frame=frame)
    assert len(shown.files) == most
    assert len(set(shown.names.values())) == len(shown.names) == 10
    assert bool(shown.first_frame_name) == bool(frame)
    assert shown.first_frame_name not in shown.names.values()
    assert "tiled on image" in shown.contact_sheet


def test_a_contact_sheet_has_each_picture_where_the_prompt_says() -> None:
    wanted = batch("<<<image_5>>>", references=6)
    shown = arrange_images(wanted, max_images=3)
    assert words(wanted, most=3) == "row 2, column 1 of image 3"
    sheet = decode_reference_rgb(shown.files[2])
    step = sheet.width // 2
    centres = [sheet.getpixel((step // 2 + step * (n % 2), step // 2 + step * (n // 2))) for n in range(4)]
    assert centres == [COLOURS[n] for n in (2, 3, 4, 5)]


def test_a_later_frame_is_told_to_look_at_the_first() -> None:
    wanted = batch("a fox wakes", references=1, framing="close-up")
    assert words(wanted, most=4, first_frame=image_file()) == (
        "a fox wakes. Close-up. Same people, things, place and style as in image 2."
    )


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "RGBA", "P", "1", "LA"])
def test_references_of_every_kind_become_upright_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert (decode_reference_rgb(buffer.getvalue()).mode, decode_reference_rgb(buffer.getvalue()).size) == (
        "RGB",
        (40, 30),
    )


def test_what_exif_turns_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_reference_rgb(image_file(40, 30, "JPEG", exif=exif)).size == (30, 40)


@pytest.mark.parametrize("content", [b"", b"<html>", image_file()[:60], b"GIF89a" + bytes(100)])
def test_what_is_no_picture_is_broken(content: bytes) -> None:
    with pytest.raises(Broken):
        decode_answer(content)
