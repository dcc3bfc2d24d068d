"""Code generators accept the OpenAPI document without a warning, and the generated clients work."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node_packages import ROOT, node, node_modules, run

DOCUMENT = ROOT / "docs" / "openapi.json"


def generate_python(document: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    programs = Path(sys.executable).parent
    command = [str(programs / "openapi-python-client"), "generate", "--path", str(document), "--fail-on-warning"]
    return subprocess.run(
        [*command, "--output-path", str(folder)],
        # the generator formats its files with ruff
        env=os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_openapi_python_client_generates_a_package_without_warnings(tmp_path: Path) -> None:
    done = generate_python(DOCUMENT, tmp_path / "generated")
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout.lower(), done.stdout
    package = next(path.parent for path in (tmp_path / "generated").glob("*/client.py"))
    operations = sum(len(methods) for methods in json.loads(DOCUMENT.read_text())["paths"].values())
    modules = [path for path in package.glob("api/*/*.py") if path.name != "__init__.py"]
    assert len(modules) == operations
    names = [".".join(path.relative_to(package.parent).with_suffix("").parts) for path in modules]
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    run([sys.executable, "-W", "error", "-c", program, f"{package.name}.models", *names], cwd=package.parent)


def test_a_document_with_an_unsupported_response_causes_a_warning(tmp_path: Path) -> None:
    """The test above can fail: the generator's exit status shows a warning."""
    document = json.loads(DOCUMENT.read_text())
    del document["paths"]["/images/{path}"]["get"]["responses"]["200"]["content"]["application/octet-stream"]
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    done = generate_python(tmp_path / "openapi.json", tmp_path / "generated")
    assert done.returncode != 0
    assert "Unsupported content_type" in done.stdout


@pytest.mark.timeout(300)
def test_openapi_typescript_generates_types_that_the_strict_compiler_accepts(tmp_path: Path) -> None:
    modules = node_modules()
    generated = tmp_path / "openapi.ts"
    output = run(
        [node(), str(modules / "openapi-typescript" / "bin" / "cli.js"), str(DOCUMENT), "--output", str(generated)],
        cwd=tmp_path,
    )
    assert not re.search("warn|error|⚠", output, re.IGNORECASE), output
    (tmp_path / "use.ts").write_text(
        'import type { components, operations } from "./openapi.js";\n'
        'type Task = components["schemas"]["TaskOut"];\n'
        'type Created = operations["create_task"]["responses"][200]["content"]["application/json"]["data"];\n'
        "export const id = (task: Task): string => task.task_result?.images[0]?.url ?? task.task_id;\n"
        "export const status = (created: Created): string => created.task_status;\n"
    )
    compiler = [node(), str(modules / "typescript" / "bin" / "tsc"), "--strict", "--noEmit", "--module", "nodenext"]
    run([*compiler, str(generated), str(tmp_path / "use.ts")], cwd=tmp_path)
