"""Schemathesis calls every operation with valid and invalid input. The OpenAPI file must document every response.

It calls each operation alone, and sequences of operations that follow the links of the OpenAPI file: tasks and elements
are created, read, listed, canceled and deleted, while a worker and an element worker process them.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from framehouse.domain.element import TAGS
from framehouse.entrypoints.api.endpoint_table import ENDPOINTS
from tests.support.api_server import element_body, serving
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MakeDeployment

EXTENT = os.environ.get("SCHEMATHESIS", "--max-examples 10")
"""The extent of the test. A manual run of ten minutes: SCHEMATHESIS="--max-time 600"
.venv/bin/python -m pytest -n 0 -s tests/api/test_schemathesis.py"""

UNDOCUMENTED = {
    "/": "the page of the console",
    "/console/config.json": "only for the console",
    "/console/sign-in": "only for the console",
    "/docs": "the page of the documentation",
    "/docs/{path}": "the files of the documentation",
    "/hasten/{batch}/{signature}": "only for upstreams, which get the URL together with an order",
    "/mcp": "the Model Context Protocol, which has its own description of its tools",
    "/openapi.json": "the documentation itself",
    "/presets/{path}": "images of presets; a preset contains their URLs",
}
"""Paths that are not in the OpenAPI file, and the reasons. Aliases of documented paths are not listed."""

CONFIG = """
[phases.stateful]
generation.max-examples = 25

[checks]
# the contract answers an unknown task, and a string that is not a number, with 400
positive_data_acceptance.enabled = false
# the contract ignores fields that a request cannot use, such as n of a series or an invalid seed
negative_data_rejection.enabled = false

[[operations]]
# an external id may have the same end as these paths: GET …/a/cancel returns the task with the external id a/cancel
include-path-regex = "/(cancel|callbacks)$"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false

[[operations]]
# for undocumented paths, only check that they cause no server error
include-tag = "undocumented"
checks.enabled = false
checks.not_a_server_error.enabled = true
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_every_operation_answers_as_documented(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    deployment = await make_deployment(concurrency=1_000_000)
    deployment.start_worker()
    deployment.start_element_worker()
    async with serving(deployment) as api:
        for _ in range(9):  # the OpenAPI links of lists need entries
            await api.save_element()
        await api.wait_for_task((await api.create())["task_id"])
        schema = (await api.anonymous.get("/openapi.json")).json()
        schema["paths"] |= {path: unconstrained(path, methods) for path, methods in undocumented_paths().items()}
        schemas, image = schema["components"]["schemas"], image_base64(300, 300)
        # random values for these fields are never valid, so almost no request would be accepted
        for schema_name, field, valid_values in (
            ("OmniImageRequest", "model_name", ["kling-v3-omni", "kling-image-o1"]),
            ("ImageIn", "image", [image]),
            ("CreateElementRequest", "element_image_list", [element_body()["element_image_list"]]),
            ("Tag", "tag_id", list(TAGS)),
            ("GenerationRequest", "model_name", ["kling-v3-omni"]),
            ("GenerationRequest", "image", [image]),
            ("CombinationRequest", "model_name", ["kling-v3-omni"]),
            ("SubjectImage", "subject_image", [image]),
            ("TryOnRequest", "model_name", ["kling-v3-omni"]),
            ("TryOnRequest", "human_image", [image]),
            ("TryOnRequest", "cloth_image", [image]),
            ("ExpansionRequest", "image", [image]),
        ):
            schemas[schema_name]["properties"][field] = {"enum": valid_values}
        text = re.sub(r"https://example.com/[\w-]+\.png", image, json.dumps(schema))
        (tmp_path / "openapi.json").write_text(text)
        (tmp_path / "schemathesis.toml").write_text(CONFIG)
        arguments = f"""
            run openapi.json --url {api.url} --no-color --mode all {EXTENT} --workers 1 --seed 1
            --generation-database none --suppress-health-check all --request-timeout 60
        """.split()
        running = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"), *arguments,
            "--header", f"Authorization: {api.alice.headers['Authorization']}",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await running.communicate()
        sys.stdout.write(output.decode())
        assert running.returncode == 0


def test_every_undocumented_path_has_a_reason() -> None:
    assert set(undocumented_paths()) == set(UNDOCUMENTED)


def undocumented_paths() -> dict[str, set[str]]:
    """The first path of each handler that has no documented path, and the methods of this path."""
    documented = {endpoint.handler for endpoint in ENDPOINTS if endpoint.documentation}
    by_path = sorted(ENDPOINTS, key=lambda endpoint: endpoint.path)
    undocumented_endpoints = [endpoint for endpoint in by_path if endpoint.handler not in documented]
    first_path = {endpoint.handler: endpoint.path for endpoint in reversed(undocumented_endpoints)}
    methods: dict[str, set[str]] = {}
    for endpoint in undocumented_endpoints:
        if endpoint.path == first_path[endpoint.handler]:
            methods.setdefault(endpoint.path.replace(":path", ""), set()).add(endpoint.method)
    return methods


def unconstrained(path: str, methods: set[str]) -> dict[str, Any]:
    """An OpenAPI path item without any constraints."""
    names = re.findall(r"{(\w+)}", path)
    any_text = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    operation = {"tags": ["undocumented"], "parameters": any_text, "responses": {"default": {"description": ""}}}
    any_body: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}
    return {method.lower(): operation | (any_body if method == "POST" else {}) for method in methods - {"HEAD"}}
