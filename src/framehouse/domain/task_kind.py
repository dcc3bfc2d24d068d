"""The kinds of tasks. Each kind has its own endpoint in the Kling API."""

from collections.abc import Mapping
from typing import Literal, get_args

TaskKind = Literal["omni-image", "generations", "multi-image2image", "expand", "try-on"]
TASK_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
TASK_PATHS: Mapping[TaskKind, str] = {
    "omni-image": "/v1/images/omni-image",
    "generations": "/v1/images/generations",
    "multi-image2image": "/v1/images/multi-image2image",
    "expand": "/v1/images/editing/expand",
    "try-on": "/v1/images/kolors-virtual-try-on",
}
"""The path of the endpoint of each kind, without a prefix."""
