"""How the pixels of an image were made, in the terms of the IPTC.

See https://cv.iptc.org/newscodes/digitalsourcetype/.
"""

from typing import Literal

DigitalSourceType = Literal[
    "algorithmicMedia", "trainedAlgorithmicMedia", "composite", "compositeWithTrainedAlgorithmicMedia"
]
"""How an image was made.

    algorithmicMedia                       by a program without an AI model
    trainedAlgorithmicMedia                by an AI model, which was trained with other images
    composite                              from several images, without an AI model
    compositeWithTrainedAlgorithmicMedia   from the output of an AI model and other pixels
"""
SOURCE_DESCRIPTIONS: dict[DigitalSourceType, str] = {
    "algorithmicMedia": "made by a program without AI",
    "trainedAlgorithmicMedia": "made by AI",
    "composite": "made by a program without AI from several images",
    "compositeWithTrainedAlgorithmicMedia": "made by AI and from other images",
}
"""The descriptions of the source types in plain English. A description continues a sentence such as "It was"."""
IPTC_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""The URL of a digital source type without the name of the type."""


def finished_source_type(generated: DigitalSourceType, *, has_original: bool, upscaled: bool) -> DigitalSourceType:
    """Return the source type of a finished image.

    `generated` is the source type that the engine states. `has_original` is true if the image contains pixels of the
    original image that it expands or edits with a mask. `upscaled` is true if a neural network has enlarged the image.
    """
    trained = upscaled or generated in ("trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia")
    mixed = has_original or generated in ("composite", "compositeWithTrainedAlgorithmicMedia")
    if mixed or (trained and generated == "algorithmicMedia"):
        return "compositeWithTrainedAlgorithmicMedia" if trained else "composite"
    return generated
