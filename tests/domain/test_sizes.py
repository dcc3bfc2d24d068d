"""Sizes by aspect ratio and resolution, the aspect ratio of references, and the limits on references."""

import pytest

from framehouse.domain.aspect_ratio import ratio_from_references
from framehouse.domain.reference import reference_problem
from framehouse.domain.sizes import RATIOS, RESOLUTIONS, Size, nearest_ratio, size_of, upscaling_factor

CONTRACT = {
    "1:1": (1024, 1024), "4:3": (1152, 864), "3:4": (864, 1152), "3:2": (1248, 832),
    "16:9": (1280, 720), "9:16": (720, 1280), "21:9": (1568, 672), "2:3": (832, 1248),
}  # fmt: skip


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("resolution", "scale"), [("1k", 1), ("2k", 2), ("4k", 4)])
def test_sizes_equal_those_of_the_contract(ratio: str, resolution: str, scale: int) -> None:
    width, height = size_of(ratio, resolution)
    assert (width, height) == (CONTRACT[ratio][0] * scale, CONTRACT[ratio][1] * scale)
    assert width % 16 == height % 16 == 0


def test_the_ratios_and_resolutions_are_those_of_the_contract() -> None:
    assert set(RATIOS) == set(CONTRACT)
    assert RESOLUTIONS == ("1k", "2k", "4k")


@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        ((1000, 1000), "1:1"),
        ((1920, 1080), "16:9"),
        ((600, 1000), "9:16"),
        ((2500, 1000), "21:9"),
        ((700, 1000), "2:3"),
    ],
)
def test_a_size_has_the_nearest_aspect_ratio(size: tuple[int, int], ratio: str) -> None:
    assert nearest_ratio(*size) == ratio


@pytest.mark.parametrize(
    ("generated", "size", "factor"),
    [
        ((1024, 1024), (1024, 1024), 1),
        ((1000, 1000), (1024, 1024), 1),
        ((1024, 1024), (2048, 2048), 2),
        ((1536, 1024), (2560, 1440), 2),
        ((1024, 1024), (2100, 2100), 4),
        ((512, 512), (4096, 4096), 4),
        ((2048, 1024), (2048, 2048), 1),
        ((4096, 4096), (1024, 1024), 1),
    ],
)
def test_only_images_that_are_much_smaller_than_requested_are_upscaled(
    generated: tuple[int, int], size: tuple[int, int], factor: int
) -> None:
    assert upscaling_factor(Size(*generated), Size(*size)) == factor


def test_the_first_cited_reference_determines_the_aspect_ratio() -> None:
    images, elements = [(1000, 1000), (1920, 1080)], [(600, 900)]
    assert ratio_from_references("<<<image_2>>> next to <<<image_1>>>", images, elements) == "16:9"
    assert ratio_from_references("<<<element_1>>> next to <<<image_2>>>", images, elements) == "2:3"
    assert ratio_from_references("<<<object_1>>>", images, elements) == "2:3"
    assert ratio_from_references("no citation", images, elements) == "1:1"
    assert ratio_from_references("no citation", [], elements) is None, "an uncited element determined the ratio"


@pytest.mark.parametrize(
    ("size", "reason"), [((299, 400), "at least 300"), ((300, 751), "aspect ratio"), ((9000, 9000), "megapixels")]
)
def test_a_reference_outside_the_limits_has_a_problem(size: tuple[int, int], reason: str) -> None:
    assert reason in (reference_problem(*size) or "")


def test_a_reference_at_the_limits_has_no_problem() -> None:
    assert reference_problem(300, 750) is None
