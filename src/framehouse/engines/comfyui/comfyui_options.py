"""The options of a `comfyui` route. The error for an invalid option names the option."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.engines.comfyui.workflows import Workflow, load_workflow
from framehouse.engines.option_checks import (
    BadOption,
    as_json,
    check_api_key,
    check_bool,
    check_cite,
    check_integer,
    check_number,
    check_urls,
)

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = {"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade"}


@dataclass(frozen=True, slots=True, repr=False)
class ComfyUIOptions:
    """The checked options of a route. `headers` are sent with each request.

    This class has no generated `__repr__` method, because its result would contain keys.
    """

    servers: tuple[str, ...]
    workflow: Workflow | None
    edit_workflow: Workflow | None
    expand_workflow: Workflow | None
    headers: Mapping[str, str]
    concurrency: int
    max_pixels: int
    timeout_s: float
    cite: str
    convert_colours: bool

    @property
    def workflows(self) -> list[Workflow]:
        """The configured workflows."""
        return [w for w in (self.workflow, self.edit_workflow, self.expand_workflow) if w is not None]


def check_comfyui_options(
    *,
    servers: object,
    workflow: object = None,
    edit_workflow: object = None,
    expand_workflow: object = None,
    api_key: object = "",
    headers: object = None,
    concurrency: object = 2,
    max_pixels: object = 1536 * 1024,
    timeout_s: object = 1800,
    cite: object = "image {}",
    convert_colours: object = True,
) -> ComfyUIOptions:
    """Check the options of a route from the configuration. Raises BadOption.

    docs/engines/comfyui.md explains the options.
    """
    if workflow is None and edit_workflow is None and expand_workflow is None:
        raise BadOption("comfyui needs at least one of the options workflow, edit_workflow and expand_workflow")
    all_headers = check_headers(headers)
    if key := check_api_key(api_key):
        all_headers = {"Authorization": f"Bearer {key}"} | all_headers
    return ComfyUIOptions(
        servers=check_urls("servers", servers, "http://gpu-1:8188"),
        workflow=None if workflow is None else load_workflow("workflow", workflow),
        edit_workflow=None if edit_workflow is None else load_workflow("edit_workflow", edit_workflow),
        expand_workflow=None if expand_workflow is None else load_workflow("expand_workflow", expand_workflow),
        headers=all_headers,
        concurrency=check_integer("concurrency", concurrency, 1, 1000),
        max_pixels=check_integer("max_pixels", max_pixels, 65_536, 100_000_000),
        timeout_s=check_number("timeout_s", timeout_s, 0.1, 86_400),
        cite=check_cite(cite),
        convert_colours=check_bool("convert_colours", convert_colours, True),
    )


def check_headers(value: object) -> dict[str, str]:
    """Check a table of headers. The error messages contain no values, because values can be secret."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadOption('headers must be a table of names and texts, such as { X-API-Key = "…" }')
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
            raise BadOption(f"headers: {as_json(name)} is not the name of a header that can be set")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise BadOption(f"headers: the value of {as_json(name)} must be printable ASCII text")
    return dict(value)
