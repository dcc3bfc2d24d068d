"""The labels of generated images: the implicit label in the metadata, and the explicit label in the pixels."""

import io
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from framehouse.adapters.content_credentials.certificates import create_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.adapters.images.image_metadata import describe
from framehouse.adapters.images.watermark import add_watermark
from framehouse.adapters.reference_files.file_types import has_manifest
from framehouse.domain.aigc_label import build_label, label_problem
from framehouse.domain.shot import FinishedImage
from framehouse.domain.sizes import Size
from framehouse.domain.task import OutputFormat
from framehouse.engines.image_files import Png, read_answer
from framehouse.pipeline.finish import ExplicitLabel, Finishing, finish
from tests.support.aigc_labels import label_count_by_xmllint, labels_by_exiftool, labels_in

TASK = UUID("01234567-89ab-7def-8123-456789abcdef")
LABEL = build_label("001191110000MA01ABCD2X<&>'01", TASK, 2)
FACTS = {"prompt": '<TC260:AIGC xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">{"Label":"3"}</TC260:AIGC> 狐'}
SIGNER = CredentialSigner(create_identity())
SIZE = Size(320, 240)
PIXELS = np.random.default_rng(4).integers(90, 110, (240, 320, 3), dtype=np.uint8)


def upstream_png() -> Png:
    """Return an upstream's PNG file that already contains labels of another producer."""
    other = build_label("001191110000OTHER", TASK, 0)
    info = PngInfo()
    info.add_text("AIGC", json.dumps(other))
    info.add_itxt("XML:com.adobe.xmp", describe({}, software="x", source_type="composite", label=other).xmp.decode())
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "PNG", pnginfo=info)
    assert labels_in(buffer.getvalue()) == labels_by_exiftool(buffer.getvalue()) == [other, other]
    png = read_answer(buffer.getvalue())
    assert isinstance(png, Png)
    return png


def finished(image: NDArray[np.uint8] | Png, finishing: Finishing, **options: Any) -> FinishedImage:
    return finish(image, SIZE, FACTS, finishing, source_type="trainedAlgorithmicMedia", **options)


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def is_marked(content: bytes) -> bool:
    """Return whether the lower right corner contains white letters. The image is grey."""
    pixels = pixels_of(content)
    height, width = pixels.shape[:2]
    assert pixels[: height // 2].max() < 160
    return bool(pixels[height * 3 // 4 :, width // 2 :].max() > 190)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("explicit", ["watermark", "always"])
@pytest.mark.parametrize("watermark", [False, True])
@pytest.mark.parametrize("passed_on", [False, True])
def test_each_file_has_exactly_one_implicit_label_and_the_expected_watermark(
    format: OutputFormat, explicit: ExplicitLabel, watermark: bool, passed_on: bool
) -> None:
    image = upstream_png() if passed_on else PIXELS
    finishing = Finishing("F", format, explicit_label=explicit, show_prompt=True, signer=SIGNER)
    result = finished(image, finishing, watermark=watermark, label=LABEL)
    always = explicit == "always"
    files = {result.content: always, result.preview: always}
    assert bool(result.watermarked) == watermark
    if watermark:
        assert (result.watermarked == result.content) == always
        files[result.watermarked] = True
    for content, marked in files.items():
        assert has_manifest(content)
        assert labels_in(content) == [LABEL]
        assert labels_by_exiftool(content) == [LABEL]
        assert label_count_by_xmllint(content) == 1
        assert is_marked(content) == marked
    assert label_problem(LABEL) is None


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("passed_on", [False, True])
def test_without_the_setting_files_have_no_implicit_label(format: OutputFormat, passed_on: bool) -> None:
    result = finished(upstream_png() if passed_on else PIXELS, Finishing("F", format), watermark=True)
    for content in (result.content, result.watermarked, result.preview):
        assert labels_in(content) == labels_by_exiftool(content) == []
        assert label_count_by_xmllint(content) == 0


def test_the_image_has_one_watermark_even_if_every_image_has_it() -> None:
    result = finished(PIXELS, Finishing("F", explicit_label="always"), watermark=True)
    assert np.array_equal(pixels_of(result.content), add_watermark(PIXELS, "AI generated")[0])


def test_an_upstreams_png_is_passed_on_only_if_no_file_has_a_watermark() -> None:
    png = upstream_png()
    assert png.data in finished(png, Finishing("F"), watermark=False, label=LABEL).content
    always = finished(png, Finishing("F", explicit_label="always"), watermark=False)
    assert np.array_equal(pixels_of(always.content), add_watermark(PIXELS, "AI generated")[0])


@pytest.mark.parametrize(
    ("own", "prompt", "text"),
    [("", "a fox", "AI generated"), ("", "一只狐狸", "AI生成"), ("Example Studio", "一只狐狸", "Example Studio")],
)
def test_the_watermark_has_the_language_of_the_prompt_or_the_operators_text(own: str, prompt: str, text: str) -> None:
    result = finished(PIXELS, Finishing("F", watermark_text=own), watermark=True, prompt=prompt)
    assert np.array_equal(pixels_of(result.watermarked), add_watermark(PIXELS, text)[0])


def test_a_logo_replaces_the_text_in_all_files_too() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (40, 20), (255, 255, 255, 255)).save(buffer, "PNG")
    finishing = Finishing("F", watermark_logo=buffer.getvalue(), explicit_label="always")
    result = finished(PIXELS, finishing, watermark=False, prompt="狐狸")
    assert is_marked(result.content)
    assert is_marked(result.preview)
    assert result.watermarked == b""
    assert finished(PIXELS, replace(finishing, explicit_label="watermark"), watermark=False).content != result.content
