"""Saved elements: what they are, what creating one asks for, and the rules for it (contract, element library)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from framehouse.domain.errors import Refused
from framehouse.domain.reference import Reference, Sent
from framehouse.domain.request import FieldReader, read_external_id, read_int, shown
from framehouse.domain.task import Status

MAX_NAME_CHARACTERS = 20
MAX_DESCRIPTION_CHARACTERS = 100
MAX_REFER_IMAGES = 3
MAX_ELEMENT_ID = 2**53 - 1
"""The largest integer that JavaScript clients keep exact."""
FIRST_OWN_ID = 2**40
"""Presets have ids below, own elements random ones from here on, so the two never meet."""
MAKING_LIMIT_S = 75.0
"""All fetches have ended by then, each of which has 60 seconds; the rest is for the storage."""
LEASE_S = MAKING_LIMIT_S + 15
"""How long a worker may hold a claimed element."""
OFFICIAL = "framehouse"
REFERENCE_TYPE = "image_refer"
TAGS: Mapping[str, tuple[str, str]] = {
    "o_101": ("Hottest", "memes and popular culture"),
    "o_102": ("Character", "people and other characters"),
    "o_103": ("Animal", "animals and pets"),
    "o_104": ("Item", "props and things"),
    "o_105": ("Costume", "clothing and what is worn"),
    "o_106": ("Scene", "places and backgrounds"),
    "o_107": ("Effect", "special effects"),
    "o_108": ("Others", "everything else"),
}
"""Name and meaning by id."""


@dataclass(frozen=True, slots=True)
class SentImage:
    """A picture as it was sent (URL, data URL or base64), and the field it was sent in."""

    field: str
    image: Sent


@dataclass(frozen=True, slots=True)
class ElementRequest:
    """A request for an element that met every rule that needs no look at the pictures. The frontal one comes first."""

    name: str
    description: str
    images: tuple[SentImage, ...]
    tags: tuple[str, ...] = ()
    callback_url: str = ""
    external_task_id: str = ""


@dataclass(frozen=True, slots=True)
class Element:
    """What an element is; it never changes. The frontal picture comes first. A preset's keys lead into the package."""

    id: int
    name: str
    description: str
    images: tuple[Reference, ...]
    tags: tuple[str, ...] = ()
    owned_by: str = OFFICIAL


@dataclass(frozen=True, slots=True)
class ElementTask:
    """The making of an own element, and the element, which is one from success on. `fields` says in which field of the
    request each picture came. A deleted one has no pictures."""

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
    """The request behind a JSON body, in the newer shape or the older, flat one, and what is wrong with it.

    Raises Refused (1201) for what is no object.
    """
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object")
    read = FieldReader(body)
    kind = read.choice("reference_type", (REFERENCE_TYPE, "video_refer"), REFERENCE_TYPE)
    if kind == "video_refer":
        read.problem("reference_type", "video_refer is not supported here; send pictures with image_refer")
    request = ElementRequest(
        name=read.required_text("element_name", most=MAX_NAME_CHARACTERS),
        description=read.required_text("element_description", most=MAX_DESCRIPTION_CHARACTERS),
        images=() if kind == "video_refer" else _images(read),
        tags=_tags(read),
        callback_url=read.url("callback_url"),
        external_task_id=read_external_id(read),
    )
    return request, read.problems


def _images(read: FieldReader) -> tuple[SentImage, ...]:
    """The pictures of either shape, each under the name of the field it came in."""
    frontal, others = "element_frontal_image", "element_refer_list"
    if read.given("element_image_list") is not None or not (read.given(frontal) or read.given(others)):
        frontal, others = "frontal_image", "refer_images"
        inside = read.given("element_image_list")
        if not isinstance(inside, dict):
            wanted = "{frontal_image, refer_images: [{image_url}]}"
            what = "is required" if inside is None else "must be an object"
            read.problem("element_image_list", f"{what}: {wanted}")
            return ()
        read = FieldReader(inside, read.problems, "element_image_list.")
    images = []
    if read.given(frontal) is None:
        read.problem(frontal, "is required and must not be empty")
    else:
        images.append(SentImage(read.prefix + frontal, read.image(frontal, read.given(frontal))))
    if read.given(others) in (None, []):
        read.problem(others, f"is required: 1 to {MAX_REFER_IMAGES} more pictures, as {{image_url}}")
    for index, image in enumerate(read.objects(others, "image_url", most=MAX_REFER_IMAGES)):
        field = f"{others}[{index}].image_url"
        images.append(SentImage(read.prefix + field, read.image(field, image)))
    return tuple(images)


def _tags(read: FieldReader) -> tuple[str, ...]:
    tags: dict[str, None] = {}
    for index, tag in enumerate(read.objects("tag_list", "tag_id", most=len(TAGS))):
        if isinstance(tag, str) and tag in TAGS:
            tags[tag] = None
        else:
            read.problem(f"tag_list[{index}].tag_id", f"must be one of {', '.join(TAGS)}, not {shown(tag)}")
    return tuple(tags)


def read_element_id(body: object) -> int:
    """The element that a body names, as an integer or a numeric string. Raises Refused (1201)."""
    value: Any = body.get("element_id") if isinstance(body, dict) else None
    number = read_int(value)
    if value in (None, ""):
        raise Refused(1201, "element_id is required")
    if number is None or number < 1:
        raise Refused(1201, f"element_id must be a positive integer, not {shown(value)}")
    return number
