"""Saved elements, and the rules of the Kling API for a request that creates an element."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import FieldReader, quoted, read_int
from framehouse.domain.reference import Reference, SentImage
from framehouse.domain.request_fields import read_external_id
from framehouse.domain.task import Status

MAX_NAME_CHARACTERS = 20
MAX_DESCRIPTION_CHARACTERS = 100
MAX_REFER_IMAGES = 3
MAX_ELEMENT_ID = 2**53 - 1
"""The largest possible element id. JavaScript numbers represent all integers up to this value exactly."""
FIRST_OWN_ID = 2**40
"""The smallest possible id of an element that an account creates. Such ids are random. All presets have smaller
ids."""
CREATION_TIMEOUT_S = 75.0
"""The time limit for creating an element, in seconds. All images are fetched at the same time, in at most 60 seconds.
The remaining 15 seconds are for storing the images."""
LEASE_S = CREATION_TIMEOUT_S + 15
"""The duration of the lease on a claimed element, in seconds."""
PRESET_OWNER = "framehouse"
REFERENCE_TYPE = "image_refer"
TAGS: Mapping[str, tuple[str, str]] = {
    "o_101": ("Hottest", "memes and popular culture"),
    "o_102": ("Character", "people and other characters"),
    "o_103": ("Animal", "animals and pets"),
    "o_104": ("Item", "props and objects"),
    "o_105": ("Costume", "clothing and accessories"),
    "o_106": ("Scene", "places and backgrounds"),
    "o_107": ("Effect", "special effects"),
    "o_108": ("Others", "everything else"),
}
"""The name and the meaning of each tag, by tag id."""


@dataclass(frozen=True, slots=True)
class ElementRequest:
    """A request to create an element. All fields have been checked, but not the content of the images.

    The first entry of `images` is the frontal image.
    """

    name: str
    description: str
    images: tuple[SentImage, ...]
    tags: tuple[str, ...] = ()
    callback_url: str = ""
    external_task_id: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """A preset or an element of an account. An element never changes after its creation.

    The first entry of `images` is the frontal image. The storage keys of a preset's images refer to files in the
    Framehouse package.
    """

    id: int
    name: str
    description: str
    images: tuple[Reference, ...]
    tags: tuple[str, ...] = ()
    owned_by: str = PRESET_OWNER


@dataclass(frozen=True, slots=True)
class ElementTask:
    """The task that creates an element of an account, and the element itself.

    The element is usable after the task has succeeded. `fields` contains the name of the request field of each image.
    A deleted element has no images.
    """

    id: UUID
    external_task_id: str
    status: Status
    status_message: str
    element: Element
    fields: tuple[str, ...]
    deleted: bool
    created_at: datetime
    updated_at: datetime

    @property
    def ended(self) -> bool:
        return self.status in ("succeed", "failed")


def read_element(body: object) -> tuple[ElementRequest, list[str]]:
    """Read the request from a JSON body. Returns the request and a list of the problems in the body.

    The body can have the current form or the older, flat form of the Kling API. Raises Refused (1201) if the body is
    not an object.
    """
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object")
    reader = FieldReader(body)
    kind = reader.choice("reference_type", (REFERENCE_TYPE, "video_refer"), REFERENCE_TYPE)
    if kind == "video_refer":
        reader.add_problem("reference_type", "video_refer is not supported; send images with image_refer")
    request = ElementRequest(
        name=reader.required_text("element_name", max_characters=MAX_NAME_CHARACTERS),
        description=reader.required_text("element_description", max_characters=MAX_DESCRIPTION_CHARACTERS),
        images=() if kind == "video_refer" else _images(reader),
        tags=_tags(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
    )
    return request, reader.problems


def _images(reader: FieldReader) -> tuple[SentImage, ...]:
    """Return the images in the body, each with the name of its request field.

    The body can have the current or the older form (see `read_element`).
    """
    frontal, others = "element_frontal_image", "element_refer_list"
    if reader.get("element_image_list") is not None or not (reader.get(frontal) or reader.get(others)):
        frontal, others = "frontal_image", "refer_images"
        image_list = reader.get("element_image_list")
        if not isinstance(image_list, dict):
            form = "{frontal_image, refer_images: [{image_url}] (optional)}"
            problem = "is required" if image_list is None else "must be an object"
            reader.add_problem("element_image_list", f"{problem}: {form}")
            return ()
        reader = FieldReader(image_list, reader.problems, "element_image_list.")
    images = []
    if reader.get(frontal) is None:
        reader.add_problem(frontal, "is required and must not be empty")
    else:
        images.append(SentImage(reader.prefix + frontal, reader.image(frontal, reader.get(frontal))))
    for index, image in enumerate(reader.objects(others, "image_url", max_entries=MAX_REFER_IMAGES)):
        field = f"{others}[{index}].image_url"
        images.append(SentImage(reader.prefix + field, reader.image(field, image)))
    return tuple(images)


def _tags(reader: FieldReader) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for index, tag in enumerate(reader.objects("tag_list", "tag_id", max_entries=len(TAGS))):
        if isinstance(tag, str) and tag.strip() in TAGS:
            tags[tag.strip()] = None
        else:
            reader.add_problem(f"tag_list[{index}].tag_id", f"must be one of {', '.join(TAGS)}, not {quoted(tag)}")
    return tuple(tags)


def read_element_id(body: object) -> int:
    """Return the `element_id` in a JSON body. The id must be a positive integer, sent as a number or as a string.

    Raises Refused (1201) if the id is missing or invalid.
    """
    value: Any = body.get("element_id") if isinstance(body, dict) else None
    number = read_int(value)
    if value in (None, ""):
        raise Refused(1201, "element_id is required")
    if number is None or number < 1:
        raise Refused(1201, f"element_id must be a positive integer, not {quoted(value)}")
    return number
