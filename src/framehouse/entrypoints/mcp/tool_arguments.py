"""The arguments of the MCP tools. Clients receive the JSON schemas of these models.

The API validates the values again, so a limit is only stated here if it helps an agent to write a valid call.
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from framehouse.domain.expansion import MAX_RATIO
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.reference import MAX_REFERENCES
from framehouse.domain.request import SERIES_AMOUNT
from framehouse.domain.request_fields import MAX_N
from framehouse.entrypoints.mcp.tool_errors import ToolFailed

DEFAULT_WAIT_S = 45
MAX_WAIT_S = 600
MAX_LISTED_TASKS = 100
_MAX_KEY_CHARACTERS = 255
_MAX_SHOWN_CHARACTERS = 60
ImageContent = Literal["preview", "full", "none"]

_TASK_ID = Field(description="the task_id that a creating tool or list_tasks returned", min_length=1, max_length=255)
_WAIT = Field(
    DEFAULT_WAIT_S,
    ge=0,
    le=MAX_WAIT_S,
    description=f"the maximum time to wait for the images, from 0 to {MAX_WAIT_S} seconds. When the time is over, the "
    "task continues, and you can call wait_for_task. Use at most 45 if your program limits the duration of tool calls "
    "to 60 seconds",
)
_IMAGE_CONTENT: Any = Field(
    "preview",
    description="the form in which the result contains the images: `preview` (at most 512 pixels per side), `full` "
    "(the original files if they are small, otherwise previews) or `none`. The result always contains links to the "
    "original files",
)
_N = Field(None, ge=1, le=MAX_N, description=f"the number of images, from 1 (default) to {MAX_N}")
_SEED = Field(
    None, description="the seed of the first image, an integer; each later image has a seed that is one higher"
)
_MODEL = Field(
    None,
    description="the name of a model of this server; default: kling-v3-omni, or the server's default for expanding",
)
_IDEMPOTENCY_KEY = Field(
    None,
    min_length=1,
    max_length=_MAX_KEY_CHARACTERS,
    description="a text that you choose. If you repeat this call within 24 hours with the same key and the same "
    "arguments, for example after an error, you receive the first task, and nothing is billed twice",
)
_Image = Annotated[str, Field(min_length=1)]


class ToolArguments(BaseModel):
    """The base class of all arguments. Unknown arguments are errors, because an agent would expect an effect."""

    model_config = ConfigDict(extra="forbid")


class WaitOptions(ToolArguments):
    wait_s: float = _WAIT
    image_content: ImageContent = _IMAGE_CONTENT


class CreateImages(WaitOptions):
    prompt: str = Field(
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description=f"what the images show, in 1 to {MAX_PROMPT_CHARACTERS} characters. `<<<image_1>>>` cites the "
        "first entry of images, and `<<<element_1>>>` cites the first entry of elements",
    )
    images: list[_Image] = Field(
        [], max_length=MAX_REFERENCES, description="reference images (JPEG, PNG, WebP or AVIF, at most 10 MB each)"
    )
    elements: list[int | str] = Field(
        [],
        max_length=MAX_REFERENCES,
        description=f"ids of elements, from the resources framehouse://elements/{{id}}. images and elements together "
        f"have at most {MAX_REFERENCES} entries",
    )
    n: int | None = _N
    series: int | Literal["auto"] | None = Field(
        None,
        description=f"a series of related images instead of n: {SERIES_AMOUNT[0]} to {SERIES_AMOUNT[1]}, or `auto` to "
        "derive the number from the prompt",
    )
    aspect_ratio: Literal["auto", "16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"] | None = Field(
        None, description="auto, 16:9, 9:16, 1:1, 4:3, 3:4, 3:2, 2:3 or 21:9. auto derives it from the prompt"
    )
    resolution: Literal["1k", "2k", "4k"] | None = Field(
        None, description="1k (default, about 1024 pixels per side), 2k or 4k; not every model offers all of them"
    )
    negative_prompt: str | None = Field(
        None,
        max_length=MAX_PROMPT_CHARACTERS,
        description="what the images must not show; cannot be used together with series",
    )
    seed: int | None = _SEED
    model: str | None = _MODEL
    idempotency_key: str | None = _IDEMPOTENCY_KEY


class ExpandImage(WaitOptions):
    image: str = Field(min_length=1, description="the image to expand (JPEG, PNG, WebP or AVIF, at most 10 MB)")
    left: float = Field(
        0, ge=0, le=MAX_RATIO, description=f"the added width on the left, 0 to {MAX_RATIO} image widths"
    )
    right: float = Field(
        0, ge=0, le=MAX_RATIO, description=f"the added width on the right, 0 to {MAX_RATIO} image widths"
    )
    up: float = Field(0, ge=0, le=MAX_RATIO, description=f"the added height at the top, 0 to {MAX_RATIO} image heights")
    down: float = Field(
        0, ge=0, le=MAX_RATIO, description=f"the added height at the bottom, 0 to {MAX_RATIO} image heights"
    )
    prompt: str | None = Field(
        None, max_length=MAX_PROMPT_CHARACTERS, description="what the added areas show; optional"
    )
    n: int | None = _N
    seed: int | None = _SEED
    model: str | None = _MODEL
    idempotency_key: str | None = _IDEMPOTENCY_KEY


class WaitForTask(WaitOptions):
    task_id: str = _TASK_ID


class GetTask(ToolArguments):
    task_id: str = _TASK_ID
    image_content: ImageContent = _IMAGE_CONTENT


class CancelTask(ToolArguments):
    task_id: str = _TASK_ID


class ListTasks(ToolArguments):
    page: int = Field(1, ge=1, le=1000, description="the page, from 1 (the newest tasks) to 1000")
    page_size: int = Field(
        20, ge=1, le=MAX_LISTED_TASKS, description=f"the number of tasks per page, from 1 to {MAX_LISTED_TASKS}"
    )


Arguments = TypeVar("Arguments", bound=ToolArguments)


def read_arguments(model: type[Arguments], values: dict[str, Any]) -> Arguments:
    """Return the arguments of a call. Raises ToolFailed, whose message lists all problems."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ToolFailed("; ".join(dict.fromkeys(_problem(model, dict(item)) for item in error.errors()))) from None


def _problem(model: type[ToolArguments], error: dict[str, Any]) -> str:
    name = str(error["loc"][0])
    if name not in model.model_fields:
        return f"there is no argument {_shown(name)}; the arguments are {', '.join(model.model_fields)}"
    expected = f"{name} is {model.model_fields[name].description}"
    if error["type"] == "missing":
        return f"the argument {name} is missing: {expected}"
    return f"{name} cannot be {_shown(error['input'])}: {expected}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"
