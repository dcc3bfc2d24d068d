"""`arrange` drops no image, whatever a model's limit is, and the prompt names the place of each image."""

import io

import pytest
from PIL import Image

from framehouse.domain.errors import Broken
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.arrange import arrange_images, build_prompt
from framehouse.engines.image_files import decode_answer, decode_reference_rgb, png_file
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


def prompt_for(input_batch: Batch, *, max_images: int, cite: str = "image {}", first_frame: bytes = b"") -> str:
    arranged = arrange_images(input_batch, max_images=max_images, cite=cite, first_frame=first_frame)
    return build_prompt(input_batch.shots[0], input_batch, arranged)


def test_images_within_the_limit_stay_the_files_that_were_sent() -> None:
    two_images = batch("<<<image_2>>> on <<image_1>>", references=2)
    arranged = arrange_images(two_images, max_images=4)
    assert arranged.files == tuple(r.content for r in two_images.references)
    assert arranged.contact_sheet == ""
    assert prompt_for(two_images, max_images=4) == "image 2 on image 1"
    assert prompt_for(two_images, max_images=4, cite="Figure {}") == "Figure 2 on Figure 1"


def test_elements_are_named_and_described_and_use_the_remaining_images() -> None:
    two_elements = batch("a fox with <<<element_1>>>", references=1, elements=(3, 1))
    arranged = arrange_images(two_elements, max_images=4)
    assert len(arranged.files) == 4
    assert prompt_for(two_elements, max_images=4) == (
        "a fox with Bag 0 (image 2, image 4). Bag 0: A bag, number 0. With Bag 1 (image 3). Bag 1: A bag, number 1."
    )


@pytest.mark.parametrize("max_images", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("frame", [b"", image_file()])
def test_every_reference_and_element_has_a_place_whatever_the_limit_is(max_images: int, frame: bytes) -> None:
    ten_images = batch(" ".join(f"<<<image_{n}>>>" for n in range(1, 7)), references=6, elements=(2, 2, 1, 1))
    arranged = arrange_images(ten_images, max_images=max_images, first_frame=frame)
    assert len(arranged.files) == max_images
    assert len(set(arranged.names.values())) == len(arranged.names) == 10
    assert bool(arranged.first_frame_name) == bool(frame)
    assert arranged.first_frame_name not in arranged.names.values()
    assert "tiled onto image" in arranged.contact_sheet


def test_a_contact_sheet_has_each_image_where_the_prompt_says() -> None:
    six_images = batch("<<<image_5>>>", references=6)
    arranged = arrange_images(six_images, max_images=3)
    assert prompt_for(six_images, max_images=3) == "row 2, column 1 of image 3"
    sheet = decode_reference_rgb(arranged.files[2])
    step = sheet.width // 2
    centres = [sheet.getpixel((step // 2 + step * (n % 2), step // 2 + step * (n // 2))) for n in range(4)]
    assert centres == [COLOURS[n] for n in (2, 3, 4, 5)]


def test_the_prompt_of_a_later_frame_refers_to_the_first_frame() -> None:
    later_frame = batch("a fox wakes", references=1, framing="close-up")
    assert prompt_for(later_frame, max_images=4, first_frame=image_file()) == (
        "a fox wakes. Close-up. Same people, things, place and style as in image 2."
    )


def test_a_crop_of_the_subject_is_added_if_the_limit_allows_one_more_image() -> None:
    frame = Image.new("RGB", (1200, 800), "grey")
    frame.paste("red", (500, 300, 800, 600))
    later_frame = batch("a fox wakes", references=1)
    files = {}
    for max_images in (2, 3):
        arranged = arrange_images(later_frame, max_images=max_images, first_frame=png_file(frame), crop_subject=True)
        files[max_images] = arranged.files
        prompt = build_prompt(later_frame.shots[0], later_frame, arranged)
    assert len(files[2]) == 2
    crop = decode_reference_rgb(files[3][2])
    assert (crop.width < 600, crop.height < 600, crop.getpixel((crop.width // 2, crop.height // 2))) == (
        True, True, (255, 0, 0),
    )  # fmt: skip
    assert prompt.endswith("Same people, things, place and style as in image 2, whose subject is shown in image 3.")


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "RGBA", "P", "1", "LA"])
def test_references_of_every_kind_become_upright_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert (decode_reference_rgb(buffer.getvalue()).mode, decode_reference_rgb(buffer.getvalue()).size) == (
        "RGB",
        (40, 30),
    )


def test_a_reference_is_rotated_by_its_exif_data() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_reference_rgb(image_file(40, 30, "JPEG", exif=exif)).size == (30, 40)


@pytest.mark.parametrize("content", [b"", b"<html>", image_file()[:60], b"GIF89a" + bytes(100)])
def test_a_file_that_is_not_an_image_is_broken(content: bytes) -> None:
    with pytest.raises(Broken):
        decode_answer(content)
