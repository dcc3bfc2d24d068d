"""The schemas of elements in the OpenAPI document.

The schemas are only documentation; domain/element.py validates the requests.
"""

from typing import Literal

from pydantic import BaseModel, Field

from framehouse.domain.element import MAX_DESCRIPTION_CHARACTERS, MAX_NAME_CHARACTERS, MAX_REFER_IMAGES, TAGS
from framehouse.domain.request_fields import MAX_EXTERNAL_ID_CHARACTERS
from framehouse.entrypoints.api.kling.request_schemas import CALLBACK
from framehouse.entrypoints.api.kling.response_schemas import Accepted, BalanceDeduction


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
    callback_url: str | None = Field(None, description=CALLBACK)
    external_task_id: str | None = Field(
        None,
        max_length=MAX_EXTERNAL_ID_CHARACTERS,
        description="Your own id for the element. Each id can be used for only one element of the account",
    )


class DeleteElementRequest(BaseModel):
    """The element to delete."""

    element_id: int | str = Field(description="The id of an element of your account", examples=[1099511627776])


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
