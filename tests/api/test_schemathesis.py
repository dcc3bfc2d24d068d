"""Schemathesis, over every operation: whatever the OpenAPI file allows or forbids, the answer is one that it names.

Each operation by itself, and one after the other by the links of the file: what was created is asked for, listed, ended
and deleted, while a worker and a element_worker make it.
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

EXTENT = os.environ.get("SCHEMATHESIS", "--max-examples 30")
"""How much is tried. Ten minutes, by hand: SCHEMATHESIS="--max-time 600"
.venv/bin/python -m pytest -n 0 -s tests/api/test_schemathesis.py"""

UNDOCUMENTED = {
    "/": "the console, for browsers",
    "/console/config.json": "the console's own",
    "/console/sign-in": "the console's own",
    "/docs": "this very documentation, for browsers",
    "/docs/{path}": "its files",
    "/hasten/{batch}/{signature}": "for upstreams, by a URL that they are given",
    "/openapi.json": "this very documentation",
    "/presets/{path}": "the pictures of presets, by the URL that the preset names",
}
"""What is routed and not in the OpenAPI file, and why. What is in it under another name is not listed here."""

CONFIG = """
[phases.stateful]
generation.max-examples = 80

[checks]
# an unknown task, and a string that is no number, are 400 in the contract
positive_data_acceptance.enabled = false
# in the contract, what a request cannot use is ignored: n of a series, an odd seed
negative_data_rejection.enabled = false

[[operations]]
# an external id may end like these paths: GET …/a/cancel is the task that is called a/cancel
include-path-regex = "/(cancel|callbacks)$"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false

[[operations]]
# of what the file does not name, only that nothing breaks
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
        for _ in range(9):  # for the links from lists
            await api.save_element()
        await api.wait_for_task((await api.create())["task_id"])
        schema = (await api.anonymous.get("/openapi.json")).json()
        schema["paths"] |= {path: undocumented(path, methods) for path, methods in undocumented_routes().items()}
        shapes, image = schema["components"]["schemas"], image_base64(300, 300)
        for shape, name, usable in (  # which chance would never write, so that next to nothing would be accepted
            ("OmniImageRequest", "model_name", ["kling-v3-omni", "kling-image-o1"]),
            ("ImageIn", "image", [image]),
            ("CreateElementRequest", "element_image_list", [element_body()["element_image_list"]]),
            ("Tag", "tag_id", list(TAGS)),
        ):
            shapes[shape]["properties"][name] = {"enum": usable}
        text = re.sub(r"https://example.com/[\w-]+\.png", image, json.dumps(schema))
        (tmp_path / "openapi.json").write_text(text)
        (tmp_path / "schemathesis.toml").write_text(CONFIG)
        words = f"""
            run openapi.json --url {api.url} --no-color --mode all {EXTENT} --workers 1 --seed 1
            --generation-database none --suppress-health-check all
        """.split()
        running = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"), *words,
            "--header", f"Authorization: {api.alice.headers['Authorization']}",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await running.communicate()
        sys.stdout.write(said.decode())
        assert running.returncode == 0


def test_what_is_not_in_the_openapi_file_has_a_reason() -> None:
    assert set(undocumented_routes()) == set(UNDOCUMENTED)


def undocumented_routes() -> dict[str, set[str]]:
    """The first path, with its methods, of each endpoint to which no documented path leads."""
    known = {route.handler for route in ENDPOINTS if route.documentation}
    routes = [route for route in sorted(ENDPOINTS, key=lambda route: route.path) if route.handler not in known]
    first = {route.handler: route.path for route in reversed(routes)}
    found: dict[str, set[str]] = {}
    for route in routes:
        if route.path == first[route.handler]:
            found.setdefault(route.path.replace(":path", ""), set()).add(route.method)
    return found


def undocumented(path: str, methods: set[str]) -> dict[str, Any]:
    """A path of which nothing is known, as OpenAPI has it."""
    names = re.findall(r"{(\w+)}", path)
    any_text = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    operation = {"tags": ["undocumented"], "parameters": any_text, "responses": {"default": {"description": ""}}}
    any_body: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}
    return {method.lower(): operation | (any_body if method == "POST" else {}) for method in methods - {"HEAD"}}
