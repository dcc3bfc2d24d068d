"""Workflows in the API format of ComfyUI, and their placeholders.

A workflow is a JSON object that maps the id of each node to the node. A node has a `class_type` and `inputs`. The value
of an input is a constant, or a link to an output of another node: a list of the node's id and the number of the output.

A placeholder such as {{prompt}} is part of a constant. The placeholders are replaced after the file has been parsed, so
a prompt can contain any characters.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framehouse.engines.option_checks import BadOption, as_json

Nodes = Mapping[str, Mapping[str, Any]]

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_IMAGE = re.compile(r"image_([1-9][0-9]?)")
_MAX_FILE_BYTES = 5_000_000
_EXPORT = "in ComfyUI, export the workflow with Workflow > Export (API)"
_REQUIRED = {
    "workflow": ("prompt", "seed", "width", "height"),
    "edit_workflow": ("prompt", "seed", "image_1"),
    "expand_workflow": ("prompt", "seed", "image_1", "mask"),
}
"""The placeholders that each option requires."""
_ALLOWED = {
    "workflow": ("prompt", "negative", "seed", "width", "height"),
    "edit_workflow": ("prompt", "negative", "seed", "width", "height", "image_1", "image_2", "…"),
    "expand_workflow": ("prompt", "negative", "seed", "width", "height", "image_1", "mask"),
}


@dataclass(frozen=True, slots=True)
class Workflow:
    """A checked workflow. `option` is the name of the option that contains its path."""

    option: str
    nodes: Nodes
    placeholders: frozenset[str]

    @property
    def max_images(self) -> int:
        """The number of placeholders for images."""
        return sum(1 for name in self.placeholders if _IMAGE.fullmatch(name))

    @property
    def class_types(self) -> list[str]:
        return sorted({node["class_type"] for node in self.nodes.values()})


def load_workflow(option: str, path: object) -> Workflow:
    """Read and check the workflow of an option. Raises BadOption."""
    if not isinstance(path, str | Path) or not str(path):
        raise BadOption(f"{option} must be the path of a workflow file; it is {as_json(path)}")
    try:
        content = Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the path is invalid"
        raise BadOption(f"{option}: the file {as_json(str(path))} cannot be read: {reason}") from error
    return parse_workflow(option, content)


def parse_workflow(option: str, content: bytes) -> Workflow:
    """Parse and check the content of a workflow file. Raises BadOption."""
    if len(content) > _MAX_FILE_BYTES:
        raise BadOption(f"{option}: the file has more than {_MAX_FILE_BYTES:,} bytes")
    try:
        nodes = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadOption(
            f"{option}: the file is not valid JSON; write every placeholder in quotation marks, also for numbers"
        ) from error
    _check_nodes(option, nodes)
    placeholders = frozenset(name for node in nodes.values() for name in _placeholders_of(node["inputs"]))
    _check_placeholders(option, placeholders)
    return Workflow(option, nodes, placeholders)


def option_for(content: bytes) -> str:
    """Return the option for which a workflow file is suitable, depending on its placeholders."""
    names = set(_PLACEHOLDER.findall(content.decode(errors="replace")))
    if "mask" in names:
        return "expand_workflow"
    return "edit_workflow" if "image_1" in names else "workflow"


def fill(nodes: Nodes, values: Mapping[str, str | int]) -> dict[str, dict[str, Any]]:
    """Replace each placeholder by its value.

    If a constant consists only of a placeholder, the constant becomes the value, and numbers stay numbers. Placeholders
    within the values are not replaced.
    """
    return {key: {**node, "inputs": _filled(node["inputs"], values)} for key, node in nodes.items()}


def remove_unused_images(
    nodes: Nodes, used: Collection[str], required_inputs: Callable[[str], Collection[str]]
) -> dict[str, Mapping[str, Any]]:
    """Remove the nodes whose placeholders for images are not in `used`.

    Links to a removed node are removed too. If such a link was a required input of its node, that node is also removed.
    `required_inputs` returns the names of the required inputs for a class of nodes.
    """
    kept = {
        key: node
        for key, node in nodes.items()
        if all(name in used for name in _placeholders_of(node["inputs"]) if _IMAGE.fullmatch(name))
    }
    while True:
        lost = {
            key: [name for name, value in node["inputs"].items() if is_link(value) and value[0] not in kept]
            for key, node in kept.items()
        }
        broken = {
            key
            for key, names in lost.items()
            if names and not set(names).isdisjoint(required_inputs(kept[key]["class_type"]))
        }
        if not broken:
            return {key: _without_inputs(node, lost[key]) for key, node in kept.items()}
        kept = {key: node for key, node in kept.items() if key not in broken}


def is_link(value: object) -> bool:
    """Return whether the value of an input is a link to another node."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def has_placeholder(value: object) -> bool:
    return any(True for _ in _placeholders_of(value))


def _without_inputs(node: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    return {**node, "inputs": {name: value for name, value in node["inputs"].items() if name not in names}}


def _check_nodes(option: str, nodes: object) -> None:
    if not isinstance(nodes, dict) or not nodes:
        raise BadOption(f"{option}: the file is not a workflow in API format; {_EXPORT}")
    if "nodes" in nodes and "links" in nodes:
        raise BadOption(f"{option}: the file is a workflow in the format of the editor; {_EXPORT}")
    for key, node in nodes.items():
        if (
            not isinstance(node, dict)
            or not isinstance(node.get("class_type"), str)
            or not isinstance(node.get("inputs"), dict)
        ):
            raise BadOption(f"{option}: node {as_json(key)} has no class_type or no inputs; {_EXPORT}")
    for key, node in nodes.items():
        for name, value in node["inputs"].items():
            if is_link(value) and value[0] not in nodes:
                raise BadOption(
                    f"{option}: the input {as_json(name)} of node {as_json(key)} is linked to node "
                    f"{as_json(value[0])}, which does not exist"
                )


def _check_placeholders(option: str, names: Collection[str]) -> None:
    allowed = _ALLOWED[option]
    for name in sorted(names):
        if name not in allowed and not ("…" in allowed and _IMAGE.fullmatch(name)):
            listed = ", ".join(other if other == "…" else f"{{{{{other}}}}}" for other in allowed)
            raise BadOption(f"{option}: {{{{{name}}}}} is not allowed; the allowed placeholders are {listed}")
    images = sum(1 for name in names if _IMAGE.fullmatch(name))
    for name in (*_REQUIRED[option], *(f"image_{number}" for number in range(1, images + 1))):
        if name not in names:
            raise BadOption(f"{option}: the placeholder {{{{{name}}}}} is missing")


def _placeholders_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.findall(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _placeholders_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _placeholders_of(item)


def _filled(value: Any, values: Mapping[str, str | int]) -> Any:
    if isinstance(value, str):
        if whole := _PLACEHOLDER.fullmatch(value.strip()):
            return values[whole[1]]
        return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), value)
    if isinstance(value, dict):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")
