"""The TypeScript client is built and tested with Node.js, with stand-in servers and with a real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import ROOT, Server, environment, serve
from tests.support.image_files import image_file
from tests.support.node_packages import CLIENT, built_client, node, node_modules, run

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("typescript")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    built_client()
    with serve(tmp_path_factory.mktemp("typescript") / "data", FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES="1") as running:
        yield running


def variables(url: str, key: str, folder: Path) -> dict[str, str]:
    reference = folder / "bag.png"
    reference.write_bytes(image_file(400, 300))
    return environment(FRAMEHOUSE_URL=url, FRAMEHOUSE_KEY=key, REFERENCE=str(reference))


def test_the_types_equal_the_openapi_document(tmp_path: Path) -> None:
    """If the types are out of date, this test updates the file and fails."""
    generator = node_modules() / "openapi-typescript" / "bin" / "cli.js"
    generated = tmp_path / "openapi.ts"
    run([node(), str(generator), str(ROOT / "docs" / "openapi.json"), "--output", str(generated)], cwd=tmp_path)
    committed = CLIENT / "src" / "openapi.ts"
    if not committed.exists() or committed.read_text() != generated.read_text():
        committed.write_text(generated.read_text())
        raise AssertionError("src/openapi.ts was out of date. It has been updated: check the change and commit it.")


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((CLIENT / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    manifest = json.loads((CLIENT / "package.json").read_text())
    assert "dependencies" not in manifest


def test_the_client_works_with_stand_in_servers(tmp_path: Path) -> None:
    built_client()
    tests = sorted(str(path) for path in (CLIENT / "tests").glob("*.test.mjs"))
    output = run([node(), "--test", *tests], cwd=tmp_path, env=environment())
    assert re.search(r"^. fail 0$", output, re.MULTILINE), output
    assert re.search(r"^. pass [1-9]", output, re.MULTILINE), output


def test_the_client_works_with_a_real_server(server: Server, tmp_path: Path) -> None:
    env = variables(server.url, server.key, tmp_path)
    output = run([node(), "--test", str(CLIENT / "tests" / "server.mjs")], cwd=tmp_path, env=env)
    assert re.search(r"^. skipped 0$", output, re.MULTILINE), output


def test_the_package_can_be_installed_and_its_types_are_strict(tmp_path: Path) -> None:
    """The packed files are complete: a program with its own package.json compiles and runs with them."""
    source = built_client()
    packed = run(["npm", "pack", "--silent", "--ignore-scripts", str(source)], cwd=tmp_path).split()[-1]
    (tmp_path / "package.json").write_text('{"type": "module", "private": true}')
    run(["npm", "install", "--no-audit", "--no-fund", "--silent", "--offline", f"./{packed}"], cwd=tmp_path)
    (tmp_path / "use.ts").write_text(
        'import { Client, type Task } from "framehouse-client";\n'
        'const client = new Client({ url: "http://127.0.0.1:8000", key: "fh_x" });\n'
        "export async function draw(): Promise<string> {\n"
        '  const task: Task = await client.create("A red fox", { images: [new Blob()], series: 3 });\n'
        "  for await (const image of task.stream()) if (image.index === 0) return image.url;\n"
        '  return (await client.verify("https://example.com/fox.png")).verdict;\n'
        "}\n"
    )
    compiler = [node(), str(node_modules() / "typescript" / "bin" / "tsc"), "--strict", "--target", "es2022"]
    run([*compiler, "--module", "nodenext", "--lib", "es2022,dom", str(tmp_path / "use.ts")], cwd=tmp_path)
    program = 'import("./use.js").then((module) => console.log(typeof module.draw))'
    assert run([node(), "--eval", program], cwd=tmp_path).strip() == "function"
