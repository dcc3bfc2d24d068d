"""The schemas of tasks, accounts and the envelope, in the OpenAPI document."""

from typing import Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from framehouse.domain.task_kind import TaskKind
from framehouse.entrypoints.api.kling.request_schemas import ElementIn, Ratio, WatermarkInfo

Content = TypeVar("Content")
_REQUEST_ID = "The id of the request, which the log of the server also contains"
UNIX_MS = "Unix time in milliseconds"


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
    created_at: int = Field(description=f"The time of acceptance. {UNIX_MS}", examples=[1795392000000])
    updated_at: int = Field(
        description=f"The time of the last change of the status. {UNIX_MS}", examples=[1795392000000]
    )


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
    created_at: int = Field(description=UNIX_MS, examples=[1795392000000])
    tried_at: int | None = Field(description=f"The time of the last attempt. {UNIX_MS}")
    next_try_at: int | None = Field(description=f"The time of the next attempt; null if none is scheduled. {UNIX_MS}")


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
    created_at: int = Field(description=UNIX_MS, examples=[1795392000000])


class AccountOut(BaseModel):
    """The account of the caller."""

    account: str = Field(description="The name of the account")
    concurrency: Concurrency = Field(description="The images that are in flight")
    units: Units = Field(description="The units of the account")
    keys: list[KeyOut] = Field(description="The active keys")


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
