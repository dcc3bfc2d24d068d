"""Every program of docs/quickstart runs literally, with a real server, and prints what its page states."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import quickstart_packages
from tests.support.command_line import ROOT, serve
from tests.support.quickstart_pages import matches, programs_of, split_installs
from tests.support.quickstart_runner import QuickstartRun, WrongPage
from tests.support.sockets import free_port
from tests.support.system_packages import skip_missing

PAGES = sorted(path for path in (ROOT / "docs" / "quickstart").glob("*.md") if path.name != "README.md")


@contextmanager
def running(folder: Path, url: str, **variables: str) -> Iterator[QuickstartRun]:
    folder.mkdir(exist_ok=True)
    run = QuickstartRun(folder, url, variables)
    try:
        yield run
    finally:
        run.stop()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_programs_of_a_page_run(page: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        serve(data, FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES="1") as server,
        running(
            tmp_path / "work",
            server.url,
            FRAMEHOUSE_URL=server.url,
            FRAMEHOUSE_KEY=server.key,
            FRAMEHOUSE_DATA_DIR=str(data),
            PORT=str(free_port()),
        ) as run,
    ):
        run.run(page.read_text())
    if run.missing:
        skip_missing(str(run.missing[0]), run.missing[0].debian)
    assert run.ran


def test_the_table_of_pages_links_to_every_page() -> None:
    table = (ROOT / "docs" / "quickstart" / "README.md").read_text()
    assert [page.name for page in PAGES if f"]({page.name})" not in table] == []
    assert PAGES


def run_page(tmp_path: Path, page: str) -> QuickstartRun:
    with running(tmp_path / "work", "http://127.0.0.1:43210", FRAMEHOUSE_URL="http://127.0.0.1:43210") as run:
        run.run(page)
    return run


def test_programs_share_a_folder_and_variables_and_may_leave_processes(tmp_path: Path) -> None:
    page = """# A page
```sh
# not run in tests
exit 1
```
```sh
pip install ./clients/nothing-is-run
```
```sh
GREETING="hello
world"
export PET=fox
sleep 600 &
echo $! > sleeper
echo "$FRAMEHOUSE_URL at $(date +%s)"
```

It prints:

```text
http://127.0.0.1:8000 at …
```
```python
import os, sys
open("name", "w").write("fox")
print("GREETING" in os.environ, os.environ["PET"], sys.prefix == os.environ["EXPECTED"])
```
```text
False fox True
```
```sh
echo "$GREETING, $(cat name)"
```
```text
hello
world, fox
```
```json
{"data": 1}
```
""".replace("pip install ./clients/nothing-is-run\n", "pip install pytest\n")
    with running(tmp_path / "work", "http://127.0.0.1:43210", FRAMEHOUSE_URL="http://127.0.0.1:43210") as run:
        run.variables["EXPECTED"] = sys.prefix
        run.run(page)
    assert run.ran == 4
    assert not run.missing
    sleeper = int((tmp_path / "work" / "sleeper").read_text())
    with pytest.raises(ProcessLookupError):
        while True:  # a killed process exists until its parent has read its exit code
            os.kill(sleeper, 0)
            if (Path(f"/proc/{sleeper}/stat").read_text().split()[2]) == "Z":
                raise ProcessLookupError


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("```sh\necho a\n```\n```text\nb\n```\n", "line 1: the page states"),
        ("```sh\nfalse\necho a\n```\n", "ended with the code 1"),
        ("```sh\nfalse | cat\n```\n", "ended with the code 1"),
        ("\n```python\nraise SystemExit(3)\n```\n", "line 2: the program ended with the code 3"),
        ("```python\nprint('a')\n```\n```text\na\nb\n```\n", "but the output is"),
    ],
)
def test_a_wrong_program_is_found(tmp_path: Path, page: str, problem: str) -> None:
    with pytest.raises(WrongPage, match=problem):
        run_page(tmp_path, page)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("# Nothing\n", "no program"),
        ("```text\na\n```\n", "no program"),
        ("```sh\n# not run in tests\nls\n```\n", "no program"),
        ("```bash\nls\n```\n", 'line 1: the language "bash"'),
        ("```\nls\n```\n", 'the language ""'),
        ("```sh\nls\n```\n```json\n{]\n```\n", "Expecting property name"),
        ("```sh\nls\n", "not closed"),
    ],
)
def test_a_wrong_page_is_found(page: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        programs_of(page)


@pytest.mark.parametrize(
    ("stated", "real", "match"),
    [
        ("task … done", "task 019a-b done\n", True),
        ("task … done", "task 1\n2 done\n", False),
        ("a\n…\nb\n", "a\n1\n2\nb\n", True),
        ("a\n…\nb\n", "a\nb\n", True),
        ("a\n…\n", "a\n1", True),
        ("a.c", "abc", False),
        ("a", "a\nb", False),
        ("…", "", True),
        ("{'a': …}", "{'a': 1}", True),
    ],
)
def test_the_output_of_a_program_is_compared(stated: str, real: str, match: bool) -> None:
    assert matches(stated, real) is match


def test_packages_of_install_commands_are_found() -> None:
    source = (
        "pip install ./clients/python 'mcp[cli]>=1' # the client\nls\nnpm install --save \\\n  openai @types/node@20\n"
    )
    assert split_installs(source) == ("ls\n", ["./clients/python", "mcp[cli]>=1"], ["openai", "@types/node@20"])
    assert split_installs("ls \\\n -l\n") == ("ls \\\n -l\n", [], [])


def test_a_missing_python_package_skips_only_the_python_programs(tmp_path: Path) -> None:
    page = "```sh\npip install no-such-package\necho a > file\n```\n```python\nimport no_such_package\n```\n"
    run = run_page(tmp_path, page)
    assert run.ran == 1
    assert str(run.missing[0]) == "Python package no-such-package"


@pytest.mark.timeout(900)
def test_javascript_and_typescript_programs_run_and_types_are_checked(tmp_path: Path) -> None:
    page = """```js
import { readdirSync } from "node:fs";
console.log(await Promise.resolve(readdirSync(".").includes("program-1.mjs")), process.env.FRAMEHOUSE_URL);
```
```text
true http://127.0.0.1:8000
```
```ts
const url: string = process.env.FRAMEHOUSE_URL ?? "";
console.log(url.length > 0 ? "set" : "not set");
export {};
```
```text
set
```
"""
    run = run_page(tmp_path, page)
    if run.missing:
        skip_missing(str(run.missing[0]), run.missing[0].debian)
    assert run.ran == 2
    with pytest.raises(WrongPage, match="not assignable to type 'number'"):
        run_page(tmp_path, "```ts\nconst n: number = 'a';\nexport {};\n```\n")


@pytest.mark.timeout(900)
def test_a_folder_of_the_checkout_with_a_package_of_npm_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart_packages, "ROOT", tmp_path)
    monkeypatch.setattr(quickstart_packages, "_CACHE", tmp_path / "cache")
    source = tmp_path / "clients" / "pet"
    source.mkdir(parents=True)
    package = {
        "name": "@a/pet",
        "version": "1.0.0",
        "type": "module",
        "exports": "./dist/pet.js",
        "scripts": {"build": "mkdir dist && cp pet.js dist/pet.js"},
    }
    (source / "package.json").write_text(json.dumps(package))
    page = "```sh\nnpm install ./clients/pet\n```\n```js\nimport { pet } from '@a/pet';\nconsole.log(pet);\n```\n"
    for number, pet in enumerate(("fox", "owl")):
        (source / "pet.js").write_text(f"export const pet = '{pet}';")
        with running(tmp_path / str(number), "http://127.0.0.1:43210") as run:
            run.run(page + f"```text\n{pet}\n```\n")
        if run.missing:
            skip_missing(str(run.missing[0]), run.missing[0].debian)
        assert run.ran == 2
