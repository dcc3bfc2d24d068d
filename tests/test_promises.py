"""What must stay true: documents, the committed OpenAPI file, versions, licences."""

import json
import re
from pathlib import Path

from openapi_spec_validator import validate

from framehouse import __version__
from framehouse.cli.commands import cli
from framehouse.domain.errors import HTTP_STATUS
from framehouse.domain.request import parse_request
from framehouse.entrypoints.api.schemas import OmniImageRequest
from framehouse.settings import ModelSettings, Settings
from tests.conftest import MakeHouse, serving

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_documented_with_its_meaning_and_default() -> None:
    page = read("docs/settings.md")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert named == set(Settings.model_fields) | set(ModelSettings.model_fields)
    for fields in (Settings.model_fields, ModelSettings.model_fields):
        for name, field in fields.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            assert field.description
            assert field.description in row, name


def test_every_error_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (\d{4}) \|", read("docs/errors.md"), re.MULTILINE)
    assert {int(code): int(status) for status, code in rows} == HTTP_STATUS


def test_every_command_is_documented() -> None:
    page = read("docs/cli.md")
    for name, command in cli.commands.items():
        for sub in getattr(command, "commands", {"": None}):
            assert f"framehouse {name} {sub}".strip() in page


def test_the_documented_request_is_the_one_that_is_read() -> None:
    source = Path(parse_request.__code__.co_filename).read_text()
    read_fields = set(re.findall(r'"((?:[a-z]+_)*[a-z]+)"', source))
    assert set(OmniImageRequest.model_fields) <= read_fields
    page = read("docs/api.md")
    assert all(f"`{name}`" in page for name in set(OmniImageRequest.model_fields) - {"element_list"})


async def test_the_openapi_file_is_valid_and_committed(make_house: MakeHouse) -> None:
    async with serving(await make_house()) as api:
        served = (await api.stranger.get("/openapi.json")).json()
    validate(served)
    assert served["paths"]["/kling/v1/images/omni-image"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    path = ROOT / "docs" / "openapi.json"
    written = json.dumps(served, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or json.loads(path.read_text()) != served:
        path.write_text(written)
        raise AssertionError("docs/openapi.json was out of date and is written anew: look at it and commit it")


def test_the_version_is_in_the_changelog() -> None:
    assert f"## {__version__}" in read("CHANGELOG.md")
    assert f'version = "{__version__}"' in read("pyproject.toml")


def test_what_is_bundled_has_its_licence() -> None:
    notice = read("NOTICE")
    for folder in (ROOT / "src" / "framehouse" / "assets").iterdir():
        assert f"assets/{folder.name}" in notice
