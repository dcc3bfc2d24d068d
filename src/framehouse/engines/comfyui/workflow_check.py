"""Find nodes, models and inputs of a workflow that a ComfyUI server does not have.

The descriptions of nodes are those of /object_info. The functions in this module do no I/O.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from framehouse.engines.comfyui.workflows import Workflow, has_placeholder, is_link, remove_unused_images
from framehouse.engines.option_checks import as_json

NodeInfos = Mapping[str, Mapping[str, Any] | None]
"""The description of each class of nodes, or None if the server has no such class."""


def find_problems(workflow: Workflow, infos: NodeInfos) -> list[str]:
    """Return the problems of a workflow on a server, each as a sentence without a full stop."""
    problems = []
    for key, node in workflow.nodes.items():
        info = infos.get(node["class_type"])
        where = f"node {key} ({node['class_type']})"
        if info is None:
            problems.append(f"{where}: the server has no node of this class; install the custom node")
            continue
        problems += [f"{where}: {problem}" for problem in _input_problems(node["inputs"], info)]
    if all(info is not None for info in infos.values()):
        problems += _output_problems(workflow, infos)
    return problems


def required_inputs(info: Mapping[str, Any] | None) -> Collection[str]:
    """Return the names of the required inputs of a node."""
    return set(_specs(info, "required"))


def _input_problems(inputs: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    required, optional = _specs(info, "required"), _specs(info, "optional")
    problems = [
        f"the input {as_json(name)} is missing"
        for name, spec in required.items()
        if name not in inputs and not _is_dynamic(spec)
    ]
    for name, value in inputs.items():
        choices = _choices({**optional, **required}.get(name))
        if choices is None or is_link(value) or isinstance(value, list | dict) or has_placeholder(value):
            continue
        if value not in choices:
            similar = get_close_matches(str(value), [str(choice) for choice in choices], n=1)
            advice = f"; the server has {as_json(similar[0])}" if similar else ""
            problems.append(f"{name} {as_json(value)} is not on the server{advice}")
    return problems


def _output_problems(workflow: Workflow, infos: NodeInfos) -> list[str]:
    """Check that the workflow generates an image for each number of references."""
    problems = []
    for count in range(1 if workflow.max_images else 0, workflow.max_images + 1):
        used = {f"image_{number}" for number in range(1, count + 1)}
        nodes = remove_unused_images(workflow.nodes, used, lambda class_type: required_inputs(infos.get(class_type)))
        if not any((infos.get(node["class_type"]) or {}).get("output_node") for node in nodes.values()):
            images = f" with {count} of {workflow.max_images} images" if workflow.max_images else ""
            problems.append(f"the workflow generates no image{images}, because no output node remains")
    return problems


def _specs(info: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    inputs = (info or {}).get("input")
    specs = inputs.get(kind) if isinstance(inputs, dict) else None
    return specs if isinstance(specs, dict) else {}


def _choices(spec: object) -> list[Any] | None:
    """Return the values that an input accepts, or None if it accepts other values or if the values are unknown.

    The choices of an input for uploaded images are ignored, because they do not list the files in subfolders.
    """
    if not isinstance(spec, list) or not spec:
        return None
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if any(options.get(name) for name in ("image_upload", "remote", "remote_combo", "multiselect")):
        return None
    choices = spec[0] if isinstance(spec[0], list) else options.get("options") if spec[0] == "COMBO" else None
    return choices if isinstance(choices, list) else None


def _is_dynamic(spec: object) -> bool:
    """Return whether an input stands for several inputs with other names."""
    return isinstance(spec, list) and bool(spec) and isinstance(spec[0], str) and spec[0].startswith("COMFY_")
