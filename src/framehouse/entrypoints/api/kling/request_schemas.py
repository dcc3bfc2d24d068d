"""The schemas of the requests that create tasks, in the OpenAPI document.

The schemas are only documentation; domain/request.py validates the requests.
"""

from typing import Literal

from pydantic import BaseModel, Field

from framehouse.domain.expansion import MAX_RATIO
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.reference import MAX_REFERENCES
from framehouse.domain.request import DEFAULT_HUMAN_FIDELITY, DEFAULT_IMAGE_FIDELITY, MAX_SUBJECTS, SERIES_AMOUNT
from framehouse.domain.request_fields import MAX_EXTERNAL_ID_CHARACTERS, MAX_N

_ELEMENT_ID = "The id of a preset or of an element of your account, as an integer or a string of digits"
CALLBACK = "This http(s) URL receives one signed POST request per status change"
_RESOLUTION = "The resolution. Not every model offers every resolution"
_WATERMARK = "Adds a watermarked copy of each image"
_RATIO = "The aspect ratio. With `auto`, the server derives it from the prompt or from the reference images"
_N = f"The number of images, from 1 to {MAX_N}"
_PROMPT = f"A description of the images, with at most {MAX_PROMPT_CHARACTERS} characters"
_SEED = (
    "Extension: the seed of the first image. The seed of each later image is one higher than the seed of the previous "
    "image"
)
_IMAGE = "A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, raw base64 or a data: URL"
_MODEL = "The name or an alias of a configured model. The field name `model` is also accepted"
Ratio = Literal["auto", "16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]


class ImageIn(BaseModel):
    """A reference image."""

    image: str = Field(
        description="A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, base64 data, or a data: URL",
        examples=["https://example.com/bag.png"],
    )


class ElementIn(BaseModel):
    """An element that the prompt can cite."""

    element_id: int | str = Field(description=_ELEMENT_ID, examples=[101])


class WatermarkInfo(BaseModel):
    """Whether each image has a watermarked copy."""

    enabled: bool = Field(False, description="True if each image has a watermarked copy")


class OmniImageRequest(BaseModel):
    """The images to generate. Unknown fields are ignored. A field counts as absent if its value is `null` or `""`."""

    model_name: str = Field(
        description="The name or an alias of a configured model. The field name `model` is also accepted. "
        "Required unless the setting `default_model` is set",
        examples=["kling-v3-omni"],
    )
    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description="The prompt can cite entries of `image_list` and `element_list` by number, starting at 1, for "
        "example <<<image_1>>> or <<<element_2>>>",
        examples=["Create a three-frame product storyboard"],
    )
    image_list: list[ImageIn] | None = Field(
        None,
        max_length=MAX_REFERENCES,
        description="`image_list` and `element_list` together may contain at most 10 entries",
    )
    element_list: list[ElementIn] | None = Field(
        None, max_length=MAX_REFERENCES, description="Elements that the prompt can cite; see `image_list` for the limit"
    )
    resolution: Literal["1k", "2k", "4k"] | None = Field("1k", description=_RESOLUTION)
    result_type: Literal["single", "series"] | None = Field(
        "single", description="`single` for independent images, `series` for images that belong together"
    )
    aspect_ratio: Ratio | None = Field("auto", description=_RATIO)
    n: int | None = Field(1, ge=1, le=MAX_N, description=f"{_N}; ignored for a series")
    series_amount: int | Literal["auto"] | None = Field(
        "auto",
        description=f"The number of images in a series, from {SERIES_AMOUNT[0]} to {SERIES_AMOUNT[1]}. With `auto`, "
        "the server derives the number from the prompt. If the prompt neither requests a number nor lists shots, the "
        "series has 4 images",
    )
    watermark_info: WatermarkInfo | None = Field(None, description=_WATERMARK)
    callback_url: str | None = Field(None, description=CALLBACK)
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the task. Each id can be used for only one task of the account. To get the task, "
        "you can use this id instead of `task_id`",
    )
    seed: int | None = Field(None, description=_SEED)


class CommonFields(BaseModel):
    """The fields that all kinds of requests have."""

    watermark_info: WatermarkInfo | None = Field(None, description=_WATERMARK)
    callback_url: str | None = Field(None, description=CALLBACK)
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the task. Each id can be used for only one task of the account",
    )
    seed: int | None = Field(None, description=_SEED)


class GenerationRequest(CommonFields):
    """The images to generate. Unknown fields are ignored. A field counts as absent if its value is `null` or `""`."""

    model_name: str | None = Field("kling-v3", description=_MODEL)
    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description=_PROMPT,
        examples=["A red bag on a beach at sunset"],
    )
    negative_prompt: str | None = Field(
        None, max_length=MAX_PROMPT_CHARACTERS, description="A description of what must not be in the images"
    )
    image: str | None = Field(None, description=_IMAGE)
    image_reference: Literal["subject", "face"] | None = Field(
        None, description="The part of `image` that must be recognizable in the new images"
    )
    image_fidelity: float | None = Field(
        DEFAULT_IMAGE_FIDELITY, ge=0, le=1, description="The similarity to `image`, from 0 to 1"
    )
    human_fidelity: float | None = Field(
        DEFAULT_HUMAN_FIDELITY, ge=0, le=1, description="The similarity to the faces in `image`, from 0 to 1"
    )
    element_list: list[ElementIn] | None = Field(
        None, max_length=MAX_REFERENCES, description="Elements that the prompt can cite; at most 10 including images"
    )
    resolution: Literal["1k", "2k", "4k"] | None = Field("1k", description=_RESOLUTION)
    n: int | None = Field(1, ge=1, le=MAX_N, description=_N)
    aspect_ratio: Ratio | None = Field("16:9", description=_RATIO)


class SubjectImage(BaseModel):
    """An image of a subject."""

    subject_image: str = Field(description=_IMAGE)


class CombinationRequest(CommonFields):
    """The images to combine. Unknown fields are ignored. A field counts as absent if its value is `null` or `""`."""

    model_name: str | None = Field("kling-v2-1", description=_MODEL)
    prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARACTERS, description=_PROMPT)
    subject_image_list: list[SubjectImage] = Field(
        min_length=1, max_length=MAX_SUBJECTS, description=f"Images of the subjects: 1 to {MAX_SUBJECTS} entries"
    )
    scene_image: str | None = Field(None, description=f"The scene. {_IMAGE}")
    style_image: str | None = Field(None, description=f"An image whose style the new image must have. {_IMAGE}")
    n: int | None = Field(1, ge=1, le=MAX_N, description=_N)
    aspect_ratio: Ratio | None = Field("16:9", description=_RATIO)


class ExpansionRequest(CommonFields):
    """The image to expand. At least one ratio must be greater than 0. The area of the expanded image may be at most
    three times the area of the original image."""

    model_name: str | None = Field(None, description=_MODEL)
    image: str = Field(description=_IMAGE)
    up_expansion_ratio: float | None = Field(
        0, ge=0, le=MAX_RATIO, description="The height of the area added at the top, divided by the image's height"
    )
    down_expansion_ratio: float | None = Field(
        0, ge=0, le=MAX_RATIO, description="The height of the area added at the bottom, divided by the image's height"
    )
    left_expansion_ratio: float | None = Field(
        0, ge=0, le=MAX_RATIO, description="The width of the area added on the left, divided by the image's width"
    )
    right_expansion_ratio: float | None = Field(
        0, ge=0, le=MAX_RATIO, description="The width of the area added on the right, divided by the image's width"
    )
    prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARACTERS, description=_PROMPT)
    n: int | None = Field(1, ge=1, le=MAX_N, description=_N)


class TryOnRequest(CommonFields):
    """The person and the garment. Unknown fields are ignored."""

    model_name: str | None = Field("kolors-virtual-try-on-v1", description=_MODEL)
    human_image: str = Field(description=f"The person. {_IMAGE}")
    cloth_image: str = Field(description=f"The garment. {_IMAGE}")
