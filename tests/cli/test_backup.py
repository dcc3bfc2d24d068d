"""Backup and restore: while the server runs, and with truncated, modified and existing files."""

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import FRAMEHOUSE, PATH, client, environment, run, run_json, serve
from tests.support.data_folder import prepare
from tests.support.image_files import image_base64
from tests.support.served_deployment import REQUEST, config, wait, wait_for_images

pytestmark = pytest.mark.xdist_group("backup")  # one test process, because the tests share a fixture


def test_a_restored_deployment_is_complete(tmp_path: Path) -> None:
    """The backup contains the keys, the images with their old URLs, and a task that is being generated."""
    notes = tmp_path / "notes"
    prepare(tmp_path / "data")
    settings = config(tmp_path / "data", notes, seconds=0.4).read_text()
    with serve(tmp_path / "data") as server, client(server.url, server.key) as http:
        key = server.key
        body = REQUEST | {"image_list": [{"image": image_base64()}], "external_task_id": "mine"}
        done = wait(http, http.post(PATH, json=body).json()["data"]["task_id"])
        notes.unlink()
        unfinished = http.post(PATH, json=REQUEST | {"series_amount": 9}).json()["data"]["task_id"]
        wait_for_images(notes, 4)  # the worker has two slots, so the first two images are stored
        summary = run_json("backup", tmp_path / "backup.tar", "--data-dir", tmp_path / "data")
        assert summary["pictures"]
        assert summary["files"] >= 3 + 1 + 2, "three images, a reference, and two images of the unfinished task"
        assert wait(http, unfinished)["task_status"] == "succeed", "the backup disturbed a running task"
        server.kill()
    assert (tmp_path / "backup.tar").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part"))
    shutil.rmtree(tmp_path / "data", ignore_errors=True)  # PostgreSQL still runs, and may create files
    assert not (tmp_path / "data" / "files").exists()
    run("restore", tmp_path / "backup.tar", "--data-dir", tmp_path / "new" / "data")
    assert (tmp_path / "new" / "data" / "framehouse.toml").read_text() == settings
    assert (tmp_path / "new" / "data" / "files").stat().st_mode & 0o077 == 0
    with serve(tmp_path / "new" / "data") as server, client(server.url, key) as http:
        answer = http.get(f"{PATH}/mine").json()["data"]
        assert answer["task_id"] == done["task_id"]
        for image in done["task_result"]["series_images"]:
            old = image["url"].split("/images/", 1)[1]
            assert httpx.get(f"{server.url}/images/{old}").status_code == 200, "an old URL does not work"
        assert wait(http, unfinished)["task_status"] == "succeed", "the unfinished task was not generated"
    account = run_json("account", "show", "default", "--data-dir", tmp_path / "new" / "data")
    assert (account["images_in_flight"], account["units_used"]) == (0, 24 + 72)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains a data folder with an account and an image, and the backup of that data folder."""
    folder = tmp_path_factory.mktemp("backup")
    prepare(folder / "data")
    run("generate", "a fox", "--out", folder / "out", "--data-dir", folder / "data")
    run("backup", folder / "backup.tar", "--data-dir", folder / "data")
    return folder


def test_a_backup_without_images_can_be_piped(deployment: Path, tmp_path: Path) -> None:
    words = [*FRAMEHOUSE, "backup", "-", "--without-pictures", "--data-dir", str(deployment / "data")]
    backup = subprocess.run(words, capture_output=True, env=environment(), check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        assert tar.getnames() == ["backup.json", "database.dump", "complete.json"]
    words = [*FRAMEHOUSE, "restore", "-", "--data-dir", str(tmp_path / "data")]
    subprocess.run(words, input=backup, capture_output=True, env=environment(), check=True)
    assert len(run_json("task", "list", "--data-dir", tmp_path / "data")) == 1


def test_backup_and_restore_overwrite_nothing(deployment: Path) -> None:
    assert (
        "already exists" in run("backup", deployment / "backup.tar", "--data-dir", deployment / "data", code=1).stderr
    )
    assert (
        "already contains a database"
        in run("restore", deployment / "backup.tar", "--data-dir", deployment / "data", code=1).stderr
    )


def test_the_error_names_a_missing_database_or_file(tmp_path: Path) -> None:
    assert "no database" in run("backup", tmp_path / "x.tar", "--data-dir", tmp_path / "none", code=1).stderr
    assert not (tmp_path / "none").exists()
    assert "No such file" in run("restore", tmp_path / "x.tar", "--data-dir", tmp_path / "none", code=1).stderr
    elsewhere = {"FRAMEHOUSE_DATABASE_URL": "postgresql://example.test/x"}
    assert "pg_dump" in run("backup", tmp_path / "x.tar", "--data-dir", tmp_path / "none", code=1, **elsewhere).stderr


@contextmanager
def rewritten(source: Path, to: Path) -> Iterator[tuple[tarfile.TarFile, dict[str, bytes]]]:
    """Yields a new tar to fill, and the contents of the old tar by name."""
    with tarfile.open(source) as old, tarfile.open(to, "w") as new:
        contents = {}
        for member in old:
            file = old.extractfile(member)
            assert file
            contents[member.name] = file.read()
        yield new, contents


def put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def with_entry(name: str, content: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda contents: contents | {name: content}


def from_newer_version(contents: dict[str, bytes]) -> dict[str, bytes]:
    about = json.loads(contents["backup.json"]) | {"migration": 9999, "framehouse": "9.0.0"}
    return contents | {"backup.json": json.dumps(about).encode()}


def with_path_traversal(contents: dict[str, bytes]) -> dict[str, bytes]:
    end = {"complete.json": contents["complete.json"]}
    return {name: c for name, c in contents.items() if name not in end} | {"files/../../evil": b"x"} | end


def without_a_file(contents: dict[str, bytes]) -> dict[str, bytes]:
    missing = next(name for name in contents if name.startswith("files/"))
    return {name: content for name, content in contents.items() if name != missing}


CHANGES: list[tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = [
    (from_newer_version, "newer than this version"),
    (with_path_traversal, 'unexpected entry "files/../../evil"'),
    (without_a_file, "does not match"),
    (with_entry("backup.json", b"{}"), "does not support"),
    (with_entry("backup.json", b"[1"), "is not a JSON object"),
    (with_entry("database.dump", b"PGDMP nonsense"), "Could not restore the database"),
    (lambda contents: {"other": b"x"} | contents, "is not the first entry"),
]
"""Changes of a backup, each with a part of the error message."""


def test_a_modified_or_truncated_backup_is_refused_and_restores_nothing(deployment: Path, tmp_path: Path) -> None:
    """All restores use one data folder. After the refused restores, the restore of the good backup succeeds."""
    for number, (change, message) in enumerate(CHANGES):
        modified = tmp_path / f"modified-{number}.tar"
        with rewritten(deployment / "backup.tar", modified) as (tar, contents):
            for name, content in change(contents).items():
                put(tar, name, content)
        assert message in run("restore", modified, "--data-dir", tmp_path / "data", code=1).stderr
        assert not (tmp_path / "data" / "postgres").exists(), message
        assert not (tmp_path / "evil").exists(), message
    whole = (deployment / "backup.tar").read_bytes()
    for share in (0.0, 0.3, 0.999):
        truncated = tmp_path / f"truncated-{share}.tar"
        truncated.write_bytes(whole[: int(len(whole.rstrip(b"\0")) * share)])
        errors = run("restore", truncated, "--data-dir", tmp_path / "data", code=1).stderr
        assert re.search("incomplete|damaged", errors), errors
        assert not (tmp_path / "data" / "postgres").exists(), share
    run("restore", deployment / "backup.tar", "--data-dir", tmp_path / "data")


@pytest.mark.parametrize("prefix", ["files/", "framehouse.toml"])
def test_a_damaged_file_is_found_and_not_restored(deployment: Path, tmp_path: Path, prefix: str) -> None:
    settings = tmp_path / "framehouse.toml"  # not in the data folder, because other tests use this folder, too
    settings.write_text('image_format = "jpeg"\n')
    damaged = tmp_path / "damaged.tar"
    run("backup", damaged, "--data-dir", deployment / "data", "--config", settings)
    with tarfile.open(damaged) as tar:
        member = next(member for member in tar if member.name.startswith(prefix))
    with damaged.open("r+b") as file:
        file.seek(member.offset_data + member.size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    errors = run("restore", damaged, "--data-dir", tmp_path / "data", code=1).stderr
    assert f"the checksum of {member.name} does not match" in re.sub(r"\s+", " ", errors)
    assert not (tmp_path / "data" / "postgres").exists()
    restored = {path.name for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert not restored & {Path(member.name).name, f"{Path(member.name).name}#1"}


def test_a_restore_can_be_repeated_after_a_kill(deployment: Path, tmp_path: Path) -> None:
    """The restore gets the database and a part of an image, so it cannot end before it is killed."""
    words = [*FRAMEHOUSE, "restore", "-", "--data-dir", str(tmp_path / "data")]
    with tarfile.open(deployment / "backup.tar") as tar:
        image = next(m for m in tar if m.name.startswith("files/") and m.size > 2 * tarfile.RECORDSIZE)
    part = (deployment / "backup.tar").read_bytes()[: image.offset_data + tarfile.RECORDSIZE]
    with subprocess.Popen(words, env=environment(), stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin
        process.stdin.write(part)
        process.stdin.flush()
        while not (tmp_path / "data" / "restoring" / "postgres").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    run("restore", deployment / "backup.tar", "--data-dir", tmp_path / "data")
    assert len(run_json("task", "list", "--data-dir", tmp_path / "data")) == 1
