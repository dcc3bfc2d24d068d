"""The schemas of requests and responses in the OpenAPI document.

The schemas are only documentation; domain/request.py and domain/element.py validate the requests.
"""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from framehouse.domain.element import MAX_DESCRIPTION_CHARACTERS, MAX_NAME_CHARACTERS, MAX_REFER_IMAGES, TAGS
from framehouse.domain.expansion import MAX_RATIO
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.reference import MAX_REFERENCES
from framehouse.domain.request import DEFAULT_HUMAN_FIDELITY, DEFAULT_IMAGE_FIDELITY, MAX_SUBJECTS, SERIES_AMOUNT
from framehouse.domain.request_fields import MAX_EXTERNAL_ID_CHARACTERS, MAX_N
from framehouse.domain.task_kind import TaskKind

Content = TypeVar("Content")
Ratio = Literal["auto", "16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]


class ImageIn(BaseModel):
    image: str = Field(
        description="A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, base64 data, or a data: URL"
    )


class ElementIn(BaseModel):
    element_id: int | str


class WatermarkInfo(BaseModel):
    enabled: bool = False


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
    element_list: list[ElementIn] | None = Field(None, max_length=MAX_REFERENCES)
    resolution: Literal["1k", "2k", "4k"] | None = "1k"
    result_type: Literal["single", "series"] | None = "single"
    aspect_ratio: Ratio | None = "auto"
    n: int | None = Field(1, ge=1, le=MAX_N, description="The number of images; ignored for a series")
    series_amount: int | Literal["auto"] | None = Field(
        "auto",
        description=f"The number of images in a series, from {SERIES_AMOUNT[0]} to {SERIES_AMOUNT[1]}. With `auto`, "
        "the server derives the number from the prompt. If the prompt neither requests a number nor lists shots, the "
        "series has 4 images",
    )
    watermark_info: WatermarkInfo | None = None
    callback_url: str | None = Field(None, description="This URL receives one POST request per status change")
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the task. Each id can be used for only one task of the account. To get the task, "
        "you can use this id instead of `task_id`",
    )
    seed: int | None = Field(
        None,
        description="Extension: the seed of the first image. The seed of each later image is one higher than the seed "
        "of the previous image",
    )


class CommonFields(BaseModel):
    """The fields that all kinds of requests have."""

    watermark_info: WatermarkInfo | None = None
    callback_url: str | None = Field(None, description="This URL receives one POST request per status change")
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the task. Each id can be used for only one task of the account",
    )


_IMAGE = "A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, raw base64 or a data: URL"
_MODEL = "The name or an alias of a configured model. The field name `model` is also accepted"


class GenerationRequest(CommonFields):
    """The images to generate. Unknown fields are ignored. A field counts as absent if its value is `null` or `""`."""

    model_name: str | None = Field("kling-v3", description=_MODEL)
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS, examples=["A red bag on a beach at sunset"])
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
    element_list: list[ElementIn] | None = Field(None, max_length=MAX_REFERENCES)
    resolution: Literal["1k", "2k", "4k"] | None = "1k"
    n: int | None = Field(1, ge=1, le=MAX_N)
    aspect_ratio: Ratio | None = "16:9"


class SubjectImage(BaseModel):
    subject_image: str = Field(description=_IMAGE)


class CombinationRequest(CommonFields):
    """The images to combine. Unknown fields are ignored. A field counts as absent if its value is `null` or `""`."""

    model_name: str | None = Field("kling-v2-1", description=_MODEL)
    prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARACTERS)
    subject_image_list: list[SubjectImage] = Field(min_length=1, max_length=MAX_SUBJECTS)
    scene_image: str | None = Field(None, description=_IMAGE)
    style_image: str | None = Field(None, description=_IMAGE)
    n: int | None = Field(1, ge=1, le=MAX_N)
    aspect_ratio: Ratio | None = "16:9"


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
    prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARACTERS)
    n: int | None = Field(1, ge=1, le=MAX_N)


class TryOnRequest(CommonFields):
    """The person and the garment. Unknown fields are ignored."""

    model_name: str | None = Field("kolors-virtual-try-on-v1", description=_MODEL)
    human_image: str = Field(description=_IMAGE)
    cloth_image: str = Field(description=_IMAGE)


class ReferImage(BaseModel):
    image_url: str = Field(description="An image in one of the formats that frontal_image accepts")


class ElementImages(BaseModel):
    frontal_image: str = Field(
        description="A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, base64 data, or a data: URL"
    )
    refer_images: list[ReferImage] | None = Field(None, max_length=MAX_REFER_IMAGES)


class Tag(BaseModel):
    tag_id: str = Field(description="; ".join(f"{id} {name}" for id, (name, _) in TAGS.items()))


class CreateElementRequest(BaseModel):
    """The element to create. The older fields element_frontal_image and element_refer_list are also accepted."""

    element_name: str = Field(min_length=1, max_length=MAX_NAME_CHARACTERS)
    element_description: str = Field(min_length=1, max_length=MAX_DESCRIPTION_CHARACTERS)
    reference_type: Literal["image_refer"] | None = "image_refer"
    element_image_list: ElementImages
    tag_list: list[Tag] | None = None
    callback_url: str | None = Field(None, description="This URL receives one POST request per status change")
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the element. Each id can be used for only one element of the account",
    )


class DeleteElementRequest(BaseModel):
    element_id: int | str


class TaskInfo(BaseModel):
    external_task_id: str | None = None


class Accepted(BaseModel):
    task_id: str = Field(examples=["019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a11"])
    task_info: TaskInfo
    task_status: Literal["submitted", "processing", "succeed", "failed"]
    created_at: int = Field(description="Unix time in milliseconds", examples=[1795392000000])
    updated_at: int = Field(examples=[1795392000000])


class ImageOut(BaseModel):
    index: int
    url: str
    watermark_url: str | None = None
    preview_url: str | None = Field(
        default=None,
        description="Extension: a WebP file of at most 512 px per side. Present only with include=previews",
    )
    thumb_hash: str | None = Field(
        default=None,
        description="Extension: the ThumbHash of the image in base64, for a placeholder. "
        "Present only with include=previews",
    )


class TaskResult(BaseModel):
    result_type: Literal["single", "series"]
    images: list[ImageOut]
    series_images: list[ImageOut]


class RequestOut(BaseModel):
    model_name: str
    prompt: str | None = None
    negative_prompt: str | None = None
    result_type: Literal["single", "series"] | None = None
    n: int | None = None
    series_amount: int | None = None
    resolution: Literal["1k", "2k", "4k"] | None = None
    aspect_ratio: Ratio | None = None
    watermark_info: WatermarkInfo
    element_list: list[ElementIn] | None = None
    image_fidelity: float | None = None
    human_fidelity: float | None = None
    up_expansion_ratio: float | None = None
    down_expansion_ratio: float | None = None
    left_expansion_ratio: float | None = None
    right_expansion_ratio: float | None = None


class BalanceDeduction(BaseModel):
    quota: str = Field(examples=["0"])
    list_price: str = Field(examples=["0"])


class _StoredTask(Accepted):
    task_status_msg: str = Field(
        description="The reason for the failure if the task has failed, otherwise an empty string"
    )
    watermark_info: WatermarkInfo
    final_unit_deduction: str = Field(examples=["24"])
    final_balance_deduction: BalanceDeduction = Field(description="Always 0, because only units are charged")
    progress: float | None = Field(
        None, description="Extension: the progress, from 0 to 1. Present only while the task is processing"
    )
    pictures: list[ImageOut] | None = Field(
        None,
        description="Extension: the images that have already been generated. "
        "Present only with include=pictures, while the task is processing",
    )
    request: RequestOut | None = Field(
        None,
        description="Extension: the request of the task, with the values chosen for `auto`. "
        "Present only with include=request",
    )


class TaskOut(_StoredTask):
    task_result: TaskResult | None = Field(None, description="Present only if the task has succeeded")


class GenerationResult(BaseModel):
    images: list[ImageOut] = Field([], description="Present only if the task has succeeded")


class GenerationOut(_StoredTask):
    task_result: GenerationResult = Field(description="An empty object until the task has succeeded")


class AnyTaskOut(_StoredTask):
    kind: TaskKind = Field(description="The kind of the task, which determines the form of `task_result`")
    task_result: TaskResult | GenerationResult | None = Field(
        None, description="Until the task has succeeded: absent for omni-image tasks, and empty for other tasks"
    )


class DeliveryOut(BaseModel):
    id: str = Field(description="The webhook-id, which is the same for every attempt")
    task_status: Literal["processing", "succeed", "failed"] = Field(description="The status that the message reports")
    url: str
    state: Literal["waiting", "delivered", "gone", "given_up"]
    tries: int
    last_code: int | None = Field(description="The HTTP status of the receiver's last response")
    last_error: str
    advice: str = Field(description="What to do about last_error; empty if there is no advice")
    created_at: int = Field(description="Unix time in milliseconds", examples=[1795392000000])
    tried_at: int | None
    next_try_at: int | None


class Concurrency(BaseModel):
    used: int = Field(description="The number of images in flight")
    allowed: int


class Units(BaseModel):
    used: int
    reserved: int = Field(description="Units reserved for tasks that have not ended")
    limit: int | None = Field(description="null means no limit")


class KeyOut(BaseModel):
    prefix: str = Field(examples=["fh_Ab12Cd34"])
    kind: Literal["bearer", "jwt"]
    models: list[str] | None = Field(description="The models that the key may use. null means all models")
    created_at: int = Field(examples=[1795392000000])


class AccountOut(BaseModel):
    account: str
    concurrency: Concurrency
    units: Units
    keys: list[KeyOut]


class TagOut(BaseModel):
    id: str
    name: str
    description: str


class ElementOut(BaseModel):
    element_id: int = Field(description="An integer below 2^53")
    element_name: str
    element_description: str
    reference_type: Literal["image_refer"]
    element_image_list: ElementImages
    tag_list: list[TagOut]
    element_video_list: dict[str, str] = Field(description="Always empty, because elements contain only images")
    element_voice_info: dict[str, str]
    owned_by: str = Field(description="`framehouse` for a preset, otherwise the number of the account")
    status: Literal["succeed", "deleted"]


class ElementResult(BaseModel):
    elements: list[ElementOut]


class ElementTaskOut(Accepted):
    task_status_msg: str
    task_result: ElementResult | None = Field(None, description="Present only if the task has succeeded")
    final_unit_deduction: str = Field(examples=["0"])
    final_balance_deduction: BalanceDeduction


class DeletedOut(BaseModel):
    task_id: str
    task_status: Literal["succeed"]


class UploadRequest(BaseModel):
    """A description of the file. The content of the file determines its type."""

    file_name: str | None = Field(None, max_length=1000)
    content_type: str | None = Field(None, max_length=200)


class UploadOut(BaseModel):
    upload_url: str = Field(description="Send the file to this URL with PUT. No API key is needed")
    download_url: str = Field(description="Use this URL as a reference within 24 hours after this response")
    expires_at: int = Field(description="The deadline for uploading the file, as a Unix time in milliseconds")


class VerifyRequest(BaseModel):
    image: str = Field(description="The http or https URL of an image, a data URL, or the image in base64")


class SignerOut(BaseModel):
    name: str
    organization: str
    trusted: bool = Field(description="If false, the certificate may contain a false name")


class LabelOut(BaseModel):
    value: str = Field(description="1: generated by AI, 2: possibly, 3: suspected")
    producer: str


class UsedFileOut(BaseModel):
    title: str
    relationship: str
    altered: bool | None = Field(None, description="Omitted if the file had no content credentials")


class VerificationOut(BaseModel):
    """The result of a verification. Fields whose values are not known, or belong to another account, are omitted."""

    verdict: Literal["made_here", "altered", "metadata", "similar", "unknown"] = Field(
        description="made_here: signed by this server and unchanged; altered: signed by this server and changed later; "
        "metadata: made here according to metadata, which is not signed; similar: looks like an image that was made "
        "here; unknown: no evidence"
    )
    made_here: bool = Field(description="True if a signature or the metadata shows that the image was made here")
    sentences: list[str] = Field(description="The result in English; the first sentences are the verdict")
    evidence: Literal["signature", "metadata", "similarity"] | None = None
    altered: bool | None = Field(None, description="Whether the image was changed; omitted if it is not known")
    copied_metadata: bool | None = Field(None, description="True if the metadata belongs to another image")
    model: str | None = None
    engine: str | None = None
    created_at: int | None = Field(None, description="Unix time in milliseconds")
    task_id: str | None = Field(None, description="Only for tasks of the caller's account")
    image_index: int | None = None
    source_type: str | None = Field(None, description="The digital source type of the IPTC")
    signer: SignerOut | None = None
    label: LabelOut | None = Field(None, description="The label AIGC of GB 45438-2025")
    made_from: list[UsedFileOut] | None = None
    distance: int | None = Field(None, description="Different bits of the perceptual hashes, 0 to 256")


class Envelope(BaseModel, Generic[Content]):
    code: int = 0
    message: str = "SUCCEED"
    request_id: str
    data: Content


class ErrorOut(BaseModel):
    code: int = Field(examples=[1201])
    message: str = Field(examples=["n must be from 1 to 9, not 12"])
    request_id: str
