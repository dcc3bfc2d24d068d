"""Consistency of the repository: documents, the committed OpenAPI file, versions, licences and imports."""

import ast
import io
import json
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import click
from openapi_spec_validator import validate

import framehouse_client
from framehouse import __version__
from framehouse.adapters.presets import preset_image, presets
from framehouse.adapters.reference_files.header import inspect
from framehouse.cli.commands import cli
from framehouse.cli.lazy_group import LazyCommand
from framehouse.domain.element import (
    FIRST_OWN_ID,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_NAME_CHARACTERS,
    TAGS,
    read_element,
)
from framehouse.domain.errors import HTTP_STATUS
from framehouse.domain.request import parse_request
from framehouse.domain.request_fields import read_model
from framehouse.entrypoints.api.kling.element_schemas import CreateElementRequest
from framehouse.entrypoints.api.kling.request_schemas import (
    CombinationRequest,
    ExpansionRequest,
    GenerationRequest,
    OmniImageRequest,
    TryOnRequest,
)
from framehouse.settings import ModelSettings, Settings
from tests.support.api_server import serving
from tests.support.in_process_deployment import MakeDeployment
from tests.support.syntax_tree import parse

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_documented_with_its_meaning_and_default() -> None:
    page = read("docs/settings.md")
    documented = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert documented == set(Settings.model_fields) | set(ModelSettings.model_fields)
    for fields in (Settings.model_fields, ModelSettings.model_fields):
        for name, field in fields.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert field.description
            assert field.description in row, name


def test_every_error_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (\d{4}) \|", read("docs/errors.md"), re.MULTILINE)
    assert {int(code): int(status) for status, code in rows} == HTTP_STATUS


def real_commands() -> dict[str, click.Command]:
    return {name: stub.load() for name, stub in cli.commands.items() if isinstance(stub, LazyCommand)}


def test_every_command_is_documented() -> None:
    page = read("docs/cli.md")
    for name, command in real_commands().items():
        for sub in getattr(command, "commands", {"": None}):
            assert f"framehouse {name} {sub}".strip() in page


def test_the_list_of_commands_shows_the_help_of_each() -> None:
    commands = real_commands()
    assert list(commands) == list(cli.commands)
    for name, command in commands.items():
        assert command.name == name
        for limit in range(20, 200):
            assert cli.commands[name].get_short_help_str(limit) == command.get_short_help_str(limit)


def test_no_two_modules_have_the_same_file_name() -> None:
    names = Counter(path.name for path in (ROOT / "src" / "framehouse").rglob("*.py") if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_the_modules_of_bench_import_each_other_in_one_direction() -> None:
    files = {
        ".".join(path.relative_to(ROOT / "bench").with_suffix("").parts): path
        for path in (ROOT / "bench").rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        imports = graph.setdefault(name, set())
        for node in ast.walk(parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imports |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                imports |= {alias.name for alias in node.names}
        imports &= files.keys()
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_every_request_field_is_read_and_documented() -> None:
    images = (parse_request, read_model)
    api = read("docs/api.md").split("\n### ")
    pages = {part.split("\n")[0]: part for part in api}
    for body, readers, page in (
        (OmniImageRequest, images, pages["omni-image"]),
        (GenerationRequest, images, pages["generations"]),
        (CombinationRequest, images, pages["multi-image2image"]),
        (ExpansionRequest, images, pages["editing/expand"]),
        (TryOnRequest, images, pages["kolors-virtual-try-on"]),
        (CreateElementRequest, (read_element, *images), read("docs/elements.md")),
    ):
        sources = "".join(Path(f.__code__.co_filename).read_text() for f in readers)
        # parse_request builds the names of the four ratios from the names of the sides
        found = set(re.findall(r'"((?:[a-z0-9]+_)*[a-z0-9]+)"', sources))
        found |= {f"{side}_expansion_ratio" for side in found & {"up", "down", "left", "right"}}
        assert set(body.model_fields) <= found, body
        assert [name for name in body.model_fields if f"`{name}`" not in page] == [], body


def test_presets_are_small_and_respect_the_limits_of_elements() -> None:
    for element in presets().values():
        assert element.id < FIRST_OWN_ID
        assert len(element.name) <= MAX_NAME_CHARACTERS
        assert len(element.description) <= MAX_DESCRIPTION_CHARACTERS
        assert set(element.tags) <= set(TAGS)
        assert f"`{element.id}` {element.name}" in read("docs/elements.md")
        assert 2 <= len(element.images) <= 4
        for image in element.images:
            content = preset_image(image.key)
            assert len(content) < 40_000
            assert inspect(io.BytesIO(content), len(content)) == (image.width, image.height)


async def test_the_openapi_file_is_valid_and_committed(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment()) as api:
        served = (await api.anonymous.get("/openapi.json")).json()
    validate(served)
    assert served["paths"]["/kling/v1/images/omni-image"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    path = ROOT / "docs" / "openapi.json"
    written = json.dumps(served, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or json.loads(path.read_text()) != served:
        path.write_text(written)
        raise AssertionError("docs/openapi.json was out of date. It has been updated: check the change and commit it.")


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {__version__}" in read("CHANGELOG.md")
    assert json.loads(read("docs/openapi.json"))["info"]["version"] == __version__


def test_the_client_has_the_version_and_the_licence_of_the_server() -> None:
    assert framehouse_client.__version__ == __version__
    assert f'"framehouse-client=={__version__}"' in read("pyproject.toml")
    assert read("clients/python/LICENSE") == read("LICENSE")


def test_notice_lists_every_folder_of_assets() -> None:
    notice = read("NOTICE")
    for folder in (ROOT / "src" / "framehouse" / "assets").iterdir():
        assert f"assets/{folder.name}" in notice


def imported_names(source: str) -> set[str]:
    """The full names of the modules and objects that a source file imports."""
    imported: set[str] = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            imported.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.update({node.module} | {f"{node.module}.{name.name}" for name in node.names})
    return imported


def test_no_test_module_imports_from_a_test_module_or_a_conftest() -> None:
    """Tests share only the code in tests/support, which contains no tests."""
    shared = [path for path in (ROOT / "tests").rglob("*.py") if path.is_relative_to(ROOT / "tests" / "support")]
    assert not [path.name for path in shared if path.name.startswith("test_")]
    for path in (ROOT / "tests").rglob("*.py"):
        wrong = [name for name in imported_names(path.read_text()) if re.match(r"tests\.(.+\.)?(test_|conftest)", name)]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}: move the shared code to tests/support"
