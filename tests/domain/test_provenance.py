"""The source type of a finished image."""

import itertools

import pytest

from framehouse.domain.provenance import DigitalSourceType, finished_source_type

TYPES: tuple[DigitalSourceType, ...] = (
    "algorithmicMedia",
    "trainedAlgorithmicMedia",
    "composite",
    "compositeWithTrainedAlgorithmicMedia",
)


@pytest.mark.parametrize(
    ("generated", "has_original", "upscaled", "expected"),
    [
        ("algorithmicMedia", False, False, "algorithmicMedia"),
        ("algorithmicMedia", True, False, "composite"),
        ("algorithmicMedia", False, True, "compositeWithTrainedAlgorithmicMedia"),
        ("algorithmicMedia", True, True, "compositeWithTrainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", False, False, "trainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", False, True, "trainedAlgorithmicMedia"),
        ("trainedAlgorithmicMedia", True, False, "compositeWithTrainedAlgorithmicMedia"),
    ],
)
def test_source_type(
    generated: DigitalSourceType, has_original: bool, upscaled: bool, expected: DigitalSourceType
) -> None:
    assert finished_source_type(generated, has_original=has_original, upscaled=upscaled) == expected


def test_a_trained_model_is_claimed_exactly_if_there_was_one() -> None:
    for generated, has_original, upscaled in itertools.product(TYPES, (False, True), (False, True)):
        finished = finished_source_type(generated, has_original=has_original, upscaled=upscaled)
        assert ("rained" in finished) == ("rained" in generated or upscaled)
        assert ("omposite" in finished) >= ("omposite" in generated or has_original)
