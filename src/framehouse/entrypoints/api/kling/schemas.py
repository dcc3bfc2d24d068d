"""The schemas of requests and responses in the OpenAPI document.

The schemas are only documentation; domain/request.py and domain/element.py validate the requests.
"""

from typing import Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from framehouse.domain.element import MAX_DESCRIPTION_CHARACTERS, MAX_NAME_CHARACTERS, MAX_REFER_IMAGES, TAGS
from framehouse.domain.expansion import MAX_RATIO
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.reference import MAX_REFERENCES
from framehouse.domain.request import DEFAULT_HUMAN_FIDELITY, DEFAULT_IMAGE_FIDELITY, MAX_SUBJECTS, SERIES_AMOUNT
from framehouse.domain.request_fields import MAX_EXTERNAL_ID_CHARACTERS, MAX_N
from framehouse.domain.task_kind import TaskKind

Content = TypeVar("Content")
_REQUEST_ID = "The id of the request, which the log of the server also contains"
_MS = "Unix time in milliseconds"
_ELEMENT_ID = "The id of a preset or of an element of your account, as an integer or a string of digits"
_CALLBACK = "This http(s) URL receives one signed POST request per status change"
_RESOLUTION = "The resolution. Not every model offers every resolution"
_WATERMARK = "Adds a watermarked copy of each image"
_RATIO = "The aspect ratio. With `auto`, the server derives it from the prompt or from the reference images"
_N = f"The number of images, from 1 to {MAX_N}"
_PROMPT = f"A description of the images, with at most {MAX_PROMPT_CHARACTERS} characters"
_SEED = (
    "Extension: the seed of the first image. The seed of each later image is one higher than the seed of the previous "
    "image"
)
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
    callback_url: str | None = Field(None, description=_CALLBACK)
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
    callback_url: str | None = Field(None, description=_CALLBACK)
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the task. Each id can be used for only one task of the account",
    )
    seed: int | None = Field(None, description=_SEED)


_IMAGE = "A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, raw base64 or a data: URL"
_MODEL = "The name or an alias of a configured model. The field name `model` is also accepted"


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


class ReferImage(BaseModel):
    """A further image of an element."""

    image_url: str = Field(description="An image in one of the formats that frontal_image accepts")


class ElementImages(BaseModel):
    """The images of an element."""

    frontal_image: str = Field(
        description="A JPEG, PNG, WebP or AVIF image of at most 10 MB, as an http(s) URL, base64 data, or a data: URL"
    )
    refer_images: list[ReferImage] | None = Field(
        None, max_length=MAX_REFER_IMAGES, description=f"Images from other sides: at most {MAX_REFER_IMAGES}"
    )


class Tag(BaseModel):
    """The kind of an element."""

    tag_id: str = Field(description="; ".join(f"{id} {name}" for id, (name, _) in TAGS.items()))


class CreateElementRequest(BaseModel):
    """The element to create. The older fields element_frontal_image and element_refer_list are also accepted."""

    element_name: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARACTERS,
        description=f"The name, with at most {MAX_NAME_CHARACTERS} characters",
    )
    element_description: str = Field(
        min_length=1,
        max_length=MAX_DESCRIPTION_CHARACTERS,
        description=f"A description, with at most {MAX_DESCRIPTION_CHARACTERS} characters",
    )
    reference_type: Literal["image_refer"] | None = Field(
        "image_refer", description="The kind of the references: images. Videos are not supported"
    )
    element_image_list: ElementImages = Field(description="The images of the element")
    tag_list: list[Tag] | None = Field(None, description="The kinds of the element")
    callback_url: str | None = Field(None, description=_CALLBACK)
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the element. Each id can be used for only one element of the account",
    )


class DeleteElementRequest(BaseModel):
    """The element to delete."""

    element_id: int | str = Field(description="The id of an element of your account", examples=[1099511627776])


class TaskInfo(BaseModel):
    """The ids that the request contained."""

    external_task_id: str | None = Field(None, description="Your own id for the task; absent if there is none")


class Accepted(BaseModel):
    """An accepted task."""

    task_id: str = Field(description="The id of the task", examples=["019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a11"])
    task_info: TaskInfo = Field(description="The ids that the request contained")
    task_status: Literal["submitted", "processing", "succeed", "failed"] = Field(
        description="The status changes from `submitted` to `processing`, and then to `succeed` or `failed`"
    )
    created_at: int = Field(description=f"The time of acceptance. {_MS}", examples=[1795392000000])
    updated_at: int = Field(description=f"The time of the last change of the status. {_MS}", examples=[1795392000000])


class ImageOut(BaseModel):
    """A generated image."""

    index: int = Field(description="The number of the image, starting at 0")
    url: str = Field(description="The signed URL of the image. No key is needed. The URL expires with the image")
    watermark_url: str | None = Field(
        None, description="The URL of the watermarked copy; absent unless the request enabled the watermark"
    )
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
    """The images of an omni-image task that has succeeded."""

    result_type: Literal["single", "series"] = Field(description="The list that contains the images")
    images: list[ImageOut] = Field(description="The images of a `single` task, otherwise empty")
    series_images: list[ImageOut] = Field(description="The images of a series, otherwise empty")


class RequestOut(BaseModel):
    """The request of a task, without its reference images. Values that the server selected replace `auto`."""

    model_name: str = Field(description="The name of the model")
    prompt: str | None = Field(None, description="The prompt; absent for try-on")
    negative_prompt: str | None = Field(None, description="A description of what must not be in the images")
    result_type: Literal["single", "series"] | None = Field(None, description="Only for omni-image")
    n: int | None = Field(None, description="The number of images; absent for a series")
    series_amount: int | None = Field(None, description="The number of images of a series")
    resolution: Literal["1k", "2k", "4k"] | None = Field(None, description="The resolution")
    aspect_ratio: Ratio | None = Field(None, description="The aspect ratio")
    watermark_info: WatermarkInfo = Field(description="Whether each image has a watermarked copy")
    element_list: list[ElementIn] | None = Field(None, description="The elements of the request")
    image_fidelity: float | None = Field(None, description="The similarity to `image`, from 0 to 1")
    human_fidelity: float | None = Field(None, description="The similarity of faces, from 0 to 1")
    up_expansion_ratio: float | None = Field(None, description="Only for expansions")
    down_expansion_ratio: float | None = Field(None, description="Only for expansions")
    left_expansion_ratio: float | None = Field(None, description="Only for expansions")
    right_expansion_ratio: float | None = Field(None, description="Only for expansions")


class BalanceDeduction(BaseModel):
    """The charged money, which is always 0, because only units are charged."""

    quota: str = Field(description="Always 0", examples=["0"])
    list_price: str = Field(description="Always 0", examples=["0"])


class _StoredTask(Accepted):
    task_status_msg: str = Field(
        description="The reason for the failure if the task has failed, otherwise an empty string"
    )
    watermark_info: WatermarkInfo = Field(description="Whether each image has a watermarked copy")
    final_unit_deduction: str = Field(description="The charged units, as a decimal number", examples=["24"])
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
    """An omni-image task."""

    task_result: TaskResult | None = Field(None, description="Present only if the task has succeeded")


class GenerationResult(BaseModel):
    """The images of a task that has succeeded. The object is empty until then."""

    images: list[ImageOut] = Field([], description="Present only if the task has succeeded")


class GenerationOut(_StoredTask):
    """A task of another kind than omni-image."""

    task_result: GenerationResult = Field(description="An empty object until the task has succeeded")


class AnyTaskOut(_StoredTask):
    """A task of any kind."""

    kind: TaskKind = Field(description="The kind of the task, which determines the form of `task_result`")
    task_result: TaskResult | GenerationResult | None = Field(
        None, description="Until the task has succeeded: absent for omni-image tasks, and empty for other tasks"
    )


class DeliveryOut(BaseModel):
    """A callback message and the state of its delivery."""

    id: str = Field(description="The webhook-id, which is the same for every attempt")
    task_status: Literal["processing", "succeed", "failed"] = Field(description="The status that the message reports")
    url: str = Field(description="The receiver of the message")
    state: Literal["waiting", "delivered", "gone", "given_up"] = Field(
        description="`gone`: the receiver responded with 410; `given_up`: no attempt succeeded within 24 hours"
    )
    tries: int = Field(description="The number of attempts")
    last_code: int | None = Field(description="The HTTP status of the receiver's last response")
    last_error: str = Field(description="The error of the last attempt, otherwise an empty string")
    advice: str = Field(description="What to do about last_error; empty if there is no advice")
    created_at: int = Field(description=_MS, examples=[1795392000000])
    tried_at: int | None = Field(description=f"The time of the last attempt. {_MS}")
    next_try_at: int | None = Field(description=f"The time of the next attempt; null if none is scheduled. {_MS}")


class Concurrency(BaseModel):
    """The images that are in flight."""

    used: int = Field(description="The number of images in flight")
    allowed: int = Field(description="The highest allowed number of images in flight")


class Units(BaseModel):
    """The units of an account."""

    used: int = Field(description="The number of charged units")
    reserved: int = Field(description="Units reserved for tasks that have not ended")
    limit: int | None = Field(description="null means no limit")


class KeyOut(BaseModel):
    """An active key, without its secret."""

    prefix: str = Field(description="The first characters of the key", examples=["fh_Ab12Cd34"])
    kind: Literal["bearer", "jwt"] = Field(description="`jwt` if clients sign JWTs with the key")
    models: list[str] | None = Field(description="The models that the key may use. null means all models")
    created_at: int = Field(description=_MS, examples=[1795392000000])


class AccountOut(BaseModel):
    """The account of the caller."""

    account: str = Field(description="The name of the account")
    concurrency: Concurrency = Field(description="The images that are in flight")
    units: Units = Field(description="The units of the account")
    keys: list[KeyOut] = Field(description="The active keys")


class TagOut(BaseModel):
    """The kind of an element."""

    id: str = Field(description="The id of the tag")
    name: str = Field(description="The name of the tag")
    description: str = Field(description="The meaning of the tag")


class ElementOut(BaseModel):
    """An element."""

    element_id: int = Field(description="An integer below 2^53")
    element_name: str = Field(description="The name of the element")
    element_description: str = Field(description="The description of the element")
    reference_type: Literal["image_refer"] = Field(description="The kind of the references: images")
    element_image_list: ElementImages = Field(description="The signed URLs of the images of the element")
    tag_list: list[TagOut] = Field(description="The kinds of the element")
    element_video_list: dict[str, str] = Field(description="Always empty, because elements contain only images")
    element_voice_info: dict[str, str] = Field(description="Always empty, because elements contain only images")
    owned_by: str = Field(description="`framehouse` for a preset, otherwise the number of the account")
    status: Literal["succeed", "deleted"] = Field(description="Whether the element was deleted")


class ElementResult(BaseModel):
    """The result of a task that created an element."""

    elements: list[ElementOut] = Field(description="Exactly one element")


class ElementTaskOut(Accepted):
    """A task that creates an element."""

    task_status_msg: str = Field(description="The reason for the failure, otherwise an empty string")
    task_result: ElementResult | None = Field(None, description="Present only if the task has succeeded")
    final_unit_deduction: str = Field(description="Always 0, because elements are free", examples=["0"])
    final_balance_deduction: BalanceDeduction = Field(description="Always 0")


class DeletedOut(BaseModel):
    """The deletion of an element."""

    task_id: str = Field(description="The id of the task that created the element")
    task_status: Literal["succeed"] = Field(description="The deletion has always succeeded")


class UploadRequest(BaseModel):
    """A description of the file. The content of the file determines its type."""

    file_name: str | None = Field(None, max_length=1000, description="At most 1000 characters; not used")
    content_type: str | None = Field(None, max_length=200, description="At most 200 characters; not used")


class ComfyUploadOut(BaseModel):
    """The URLs of an upload, in the form that the API nodes of ComfyUI expect."""

    upload_url: str = Field(description="Send the file to this URL with PUT. No API key is needed")
    download_url: str = Field(description="Use this URL as a reference within 24 hours after this response")


class StoredUploadOut(BaseModel):
    """An empty object."""


class UploadOut(BaseModel):
    """The URLs of an upload."""

    upload_url: str = Field(description="Send the file to this URL with PUT. No API key is needed")
    download_url: str = Field(description="Use this URL as a reference within 24 hours after this response")
    expires_at: int = Field(description="The deadline for uploading the file, as a Unix time in milliseconds")


class VerifyRequest(BaseModel):
    """The image to verify."""

    image: str = Field(description="The http or https URL of an image, a data URL, or the image in base64")


class SignerOut(BaseModel):
    """The certificate that signed the image."""

    name: str = Field(description="The name in the certificate")
    organization: str = Field(description="The organization in the certificate")
    trusted: bool = Field(description="If false, the certificate may contain a false name")


class LabelOut(BaseModel):
    """The label AIGC of GB 45438-2025."""

    value: str = Field(description="1: generated by AI, 2: possibly, 3: suspected")
    producer: str = Field(description="The code of the producer")


class UsedFileOut(BaseModel):
    """A file from which the image was made."""

    title: str = Field(description="The title of the file")
    relationship: str = Field(description="The relationship of the file to the image, such as `inputTo`")
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
    evidence: Literal["signature", "metadata", "similarity"] | None = Field(
        None, description="The evidence for the verdict; omitted if there is none"
    )
    altered: bool | None = Field(None, description="Whether the image was changed; omitted if it is not known")
    copied_metadata: bool | None = Field(None, description="True if the metadata belongs to another image")
    model: str | None = Field(None, description="The name of the model")
    engine: str | None = Field(None, description="The name of the engine")
    created_at: int | None = Field(None, description=_MS)
    task_id: str | None = Field(None, description="Only for tasks of the caller's account")
    image_index: int | None = Field(None, description="The number of the image in its task, starting at 0")
    source_type: str | None = Field(None, description="The digital source type of the IPTC")
    signer: SignerOut | None = Field(None, description="The certificate that signed the image")
    label: LabelOut | None = Field(None, description="The label AIGC of GB 45438-2025")
    made_from: list[UsedFileOut] | None = Field(None, description="The files from which the image was made")
    distance: int | None = Field(None, description="Different bits of the perceptual hashes, 0 to 256")


class Envelope(BaseModel, Generic[Content]):
    """A successful response."""

    model_config = ConfigDict(json_schema_extra={"description": "A successful response."})

    code: int = Field(description="0, because the request succeeded", examples=[0])
    message: str = Field(description="The text SUCCEED", examples=["SUCCEED"])
    request_id: str = Field(description=_REQUEST_ID)
    data: Content = Field(description="The result of the request")

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Return the name of the schema: TaskResponse for TaskOut, and TaskListResponse for list[TaskOut]."""
        (content,) = params
        (entry,) = get_args(content) or (content,)
        return str(entry.__name__).removesuffix("Out") + ("ListResponse" if get_args(content) else "Response")


class ErrorOut(BaseModel):
    """A response to a request that failed."""

    code: int = Field(description="The error code, which docs/errors.md describes", examples=[1201])
    message: str = Field(
        description="The problem and the allowed values, in English", examples=["n must be from 1 to 9, not 12"]
    )
    request_id: str = Field(description=_REQUEST_ID)
