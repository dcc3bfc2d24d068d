"""The schemas of OpenAI's image API in the OpenAPI document.

The schemas are only documentation; domain/openai_request.py validates the requests.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from framehouse.domain.openai_request import (
    FORMATS,
    MAX_PARTIAL_IMAGES,
    MAX_PIXELS,
    MAX_PROMPT_CHARACTERS,
    MAX_SIDE_PX,
    MAX_SIDE_RATIO,
    MIN_SIDE_PX,
)
from framehouse.domain.reference import MAX_REFERENCES
from framehouse.domain.request_fields import MAX_EXTERNAL_ID_CHARACTERS, MAX_N
from framehouse.entrypoints.api.kling.request_schemas import Ratio


class GenerateImagesRequest(BaseModel):
    """The images to generate. Unknown fields are ignored. A field counts as absent if its value is `null` or `""`."""

    prompt: str = Field(
        min_length=1, max_length=MAX_PROMPT_CHARACTERS, description="What the images must show", examples=["A red fox"]
    )
    model: str | None = Field(
        None,
        description="The name or an alias of a configured model. If the field is absent, or names a model of OpenAI "
        "that is not configured, the default model generates the images",
        examples=["kling-v3-omni"],
    )
    n: int | None = Field(1, ge=1, le=MAX_N, description="The number of images")
    size: str | None = Field(
        "auto",
        description=f"`auto` or the exact size in pixels, such as `1536x1024`: sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} "
        f"px, at most {MAX_PIXELS:,} pixels, and a longer side of at most {MAX_SIDE_RATIO} times the shorter side",
    )
    aspect_ratio: Ratio | None = Field("auto", description="Extension: the aspect ratio, if `size` is `auto`")
    quality: Literal["auto", "low", "medium", "standard", "high", "hd", "xhigh", "max"] | None = Field(
        "auto",
        description="The resolution: `low` and `medium` stand for 1k, `high` for 2k, and `xhigh` for 4k. With `auto`, "
        "the size determines the resolution",
    )
    resolution: Literal["1k", "2k", "4k"] | None = Field(
        None, description="Extension: the resolution, which takes precedence over `quality`"
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(
        None, description=f"One of {', '.join(FORMATS)}; the default is a setting of the server"
    )
    output_compression: int | None = Field(None, ge=0, le=100, description="The quality of a JPEG or WebP file")
    background: Literal["auto", "opaque"] | None = Field(
        "auto", description="`opaque` or `auto`, which have the same effect: transparent images are not supported"
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        "b64_json", description="Whether the response contains base64, or URLs that are valid for some time"
    )
    stream: bool | None = Field(
        False, description="Whether the response is a stream of events (server-sent events) with progress and images"
    )
    partial_images: int | None = Field(
        0, ge=0, le=MAX_PARTIAL_IMAGES, description="The maximum number of partial images per image in the stream"
    )
    user: str | None = Field(None, description="Ignored")
    image: list[str] | None = Field(
        None,
        max_length=MAX_REFERENCES,
        description="Extension: reference images, each as an http(s) URL, base64 data, or a data: URL",
    )
    seed: int | None = Field(None, description="Extension: the seed of the first image")
    callback_url: str | None = Field(
        None, description="Extension: this URL receives one POST request per status change"
    )
    external_task_id: str | None = Field(
        None, max_length=MAX_EXTERNAL_ID_CHARACTERS, description="Extension: your own id for the task"
    )
    asynchronous: bool | None = Field(
        False,
        alias="async",
        description="Extension: if true, the response has HTTP 202 and contains the task instead of the images",
    )


class EditImagesRequest(GenerateImagesRequest):
    """The images to edit, and the result. A form (multipart/form-data) can contain the images as files."""

    image: list[str] = Field(
        min_length=1,
        max_length=MAX_REFERENCES,
        description="The images to edit, each as an http(s) URL, base64 data, or a data: URL. In a form: the files "
        "`image` or `image[]`",
    )
    mask: str | None = Field(
        None,
        description="A PNG image with the size of the first image. Only its transparent areas are edited",
    )


class GeneratedImageOut(BaseModel):
    """A generated image."""

    b64_json: str | None = Field(None, description="The image file in base64")
    url: str | None = Field(None, description="The signed URL of the image")


class GeneratedImagesOut(BaseModel):
    """The generated images."""

    created: int = Field(description="Unix time in seconds")
    task_id: str | None = Field(None, description="Extension: the id of the task")
    background: str | None = Field(None, description="Always `opaque`")
    output_format: str | None = Field(None, description="The format of the images: `png`, `jpeg` or `webp`")
    quality: str | None = Field(None, description="The quality that stands for the resolution")
    size: str | None = Field(None, description="The size in pixels, such as `1024x1024`")
    data: list[GeneratedImageOut] = Field(description="The images")


class OpenAIErrorDetail(BaseModel):
    """An error in the form of OpenAI's API."""

    message: str = Field(description="The problem, in English")
    type: str = Field(description="The kind of the error, such as `invalid_request_error`")
    param: str | None = Field(description="The name of the field that is wrong")
    code: str | None = Field(description="The code of the error, such as `invalid_value`")


class OpenAIErrorOut(BaseModel):
    """A response to a request that failed."""

    error: OpenAIErrorDetail = Field(description="The error")


class ImageTaskOut(BaseModel):
    """A task that generates images."""

    id: str = Field(description="The id of the task")
    object: Literal["image.task"] = Field("image.task", description="Always `image.task`")
    created_at: int = Field(description="Unix time in seconds")
    status: Literal["queued", "in_progress", "completed", "failed"] = Field(description="The status of the task")
    model: str = Field(description="The name of the model")
    progress: float = Field(ge=0, le=1, description="The progress, from 0 to 1")
    units: int = Field(description="The units that were charged")
    error: OpenAIErrorDetail | None = Field(description="The error of a failed task, otherwise null")
    result: GeneratedImagesOut | None = Field(description="The images, after the task has succeeded")


class ModelOut(BaseModel):
    """A configured model."""

    id: str = Field(description="The name of the model")
    object: Literal["model"] = Field("model", description="Always `model`")
    created: int = Field(description="Unix time in seconds")
    owned_by: str = Field(description="Always `framehouse`")


class ModelListOut(BaseModel):
    """The models that the key may use."""

    object: Literal["list"] = Field("list", description="Always `list`")
    data: list[ModelOut] = Field(description="The models")


GENERATE_EXAMPLES: dict[str, dict[str, Any]] = {
    "one_image": {
        "summary": "One image",
        "value": {"model": "kling-v3-omni", "prompt": "A red fox in the snow", "size": "1536x1024"},
    },
    "three_images_as_URLs": {
        "summary": "Three images as URLs",
        "value": {"prompt": "A red fox in the snow", "n": 3, "aspect_ratio": "16:9", "response_format": "url"},
    },
    "asynchronous": {
        "summary": "A task instead of images",
        "value": {
            "prompt": "A red fox in the snow",
            "quality": "high",
            "async": True,
            "callback_url": "https://example.org/hook",
        },
    },
}
EDIT_EXAMPLES: dict[str, dict[str, Any]] = {
    "an_image_at_a_URL": {
        "summary": "An image at a URL",
        "value": {"image": ["https://example.org/bag.png"], "prompt": "The bag on a beach"},
    },
}

_CREATED = 1795392000
IMAGES: dict[str, Any] = {
    "created": _CREATED,
    "task_id": "019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a11",
    "data": [{"b64_json": "iVBORw0KGgo…"}],
}
TASK: dict[str, Any] = {
    "id": "019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a11",
    "object": "image.task",
    "created_at": _CREATED,
    "status": "in_progress",
    "model": "kling-v3-omni",
    "progress": 0.4,
    "units": 0,
    "error": None,
    "result": None,
}
MODEL: dict[str, Any] = {"id": "kling-v3-omni", "object": "model", "created": _CREATED, "owned_by": "framehouse"}
