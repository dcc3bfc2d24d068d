"""Upgrades from the previous release, run with its own code: with unfinished work, and on a full database in use."""

import asyncio
import json
import os
import subprocess
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import pytest

from framehouse.adapters.postgres.migrate import migrate, migrations
from tests.support.command_line import (
    FRAMEHOUSE,
    PATH,
    ROOT,
    client,
    environment,
    run,
    run_json,
    serve,
    serve_unprepared,
)
from tests.support.database import Server, execute, named_database
from tests.support.image_files import image_base64
from tests.support.served_deployment import REQUEST, config, wait, wait_for_images

DEFAULT_PREVIOUS = ("ad5b777", "f133a45")
"""The commits that count as previous releases if no release has a tag. The first one has no folder of functions."""
TASKS = 100_000


def git(*words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


@pytest.fixture(scope="module", params=DEFAULT_PREVIOUS)
def previous_source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source folder of the previous release."""
    tags = git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-v:refname").decode().split()
    current_tag = git("describe", "--tags", "--exact-match", "HEAD").decode().strip()
    release = next((tag for tag in tags if tag != current_tag), request.param)
    archive = git("archive", release, "src")
    if not archive:
        pytest.skip(f"the repository does not contain the history with {release}")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    engine = folder / "src" / "framehouse" / "testing"  # the tests' configuration imports the engine from here
    if not engine.exists():
        engine.mkdir()
        (engine / "__init__.py").touch()
        (engine / "misbehaving.py").write_bytes(git("show", f"{release}:tests/misbehaving.py"))
    return folder / "src"


def test_an_upgrade_keeps_keys_images_and_unfinished_tasks(previous_source: Path, tmp_path: Path) -> None:
    """A server with the old code is killed while it generates, then a server with the new code starts."""
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=0.4)
    old = {"PYTHONPATH": f"{previous_source}{os.pathsep}{ROOT}"}
    with serve_unprepared(tmp_path / "data", "--config", path, **old) as server:
        key = server.key
        with client(server.url, key) as http:
            body = REQUEST | {"image_list": [{"image": image_base64()}], "external_task_id": "mine"}
            done = wait(http, post(http, body))
            notes.unlink()
            unfinished = post(http, REQUEST | {"series_amount": 9})
            wait_for_images(notes, 3)
        server.kill()
    with serve(tmp_path / "data", "--config", path) as server, client(server.url, key) as http:
        answer = http.get(f"{PATH}/mine").json()["data"]
        assert answer["task_id"] == done["task_id"]
        for image in answer["task_result"]["series_images"]:
            assert httpx.get(image["url"], timeout=90).status_code == 200
        assert wait(http, unfinished)["task_status"] == "succeed"
        duplicate = http.post(PATH, json=REQUEST | {"external_task_id": "mine"})
        assert duplicate.json()["message"] == "External_task_id mine already exists"
    lines = Counter(line for line in notes.read_text().splitlines() if line.startswith("done"))
    assert sum(lines.values()) <= 9 + 2
    account = run_json("account", "show", "default", "--data-dir", tmp_path / "data")
    assert (account["images_in_flight"], account["units_used"]) == (0, 24 + 72)


def post(http: httpx.Client, body: dict[str, Any]) -> str:
    answer = http.post(PATH, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["task_id"])


FILL = f"""
    insert into tasks (id, account_id, external_task_id, status, model, prompt, elements, result_type, image_count,
                       images_done, resolution, ratio, watermark, units_reserved, ended_at, expires_at, expired_at)
    select gen_random_uuid(), (select id from accounts), 'full-' || n, 'succeed', 'kling-v3-omni', repeat('a fox ', 40),
           '{{}}', 'single', 1, 1, '1k', '1:1', false, 8, now(), now(), now()
    from generate_series(1, {TASKS}) n;
    insert into shots (task_id, index, prompt, framing, seed, painted_at, engine, key, media_type, width, height)
    select id, 0, prompt, '', 1, now(), 'previz', 'images/' || id || '/0.png', 'image/png', 1024, 1024 from tasks;
    analyze tasks, shots
"""


async def query(url: str, statement: str) -> Any:
    """The first value of a statement's result."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def wait_for_count(url: str, rows: str, minimum: int) -> None:
    """Wait until a relation has at least `minimum` rows; `rows` follows `from`."""
    end = time.monotonic() + 120
    while asyncio.run(query(url, f"select count(*) from {rows}")) < minimum:
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def running_process(*words: str | Path, env: dict[str, str]) -> Iterator[str]:
    """Run a separate API or worker process. Yields the first line of its output."""
    with subprocess.Popen([*FRAMEHOUSE, *map(str, words), "--json"], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().decode()
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0


class Client(threading.Thread):
    """Submits and polls tasks continuously, and records the time and the status code of each answer."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__()
        self.http = client(url, key)
        self.took_s: list[float] = []
        self.codes: Counter[int] = Counter()
        self.tasks: list[str] = []
        self.stopped = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.http.close()

    def stop(self) -> None:
        self.stopped.set()
        self.join()

    def run(self) -> None:
        while not self.stopped.is_set():
            began = time.monotonic()
            answer = self.http.post(PATH, json=REQUEST | {"result_type": "single"})
            self.codes[answer.status_code] += 1
            if answer.status_code == 200:
                self.tasks.append(answer.json()["data"]["task_id"])
                self.codes[self.http.get(f"{PATH}/{self.tasks[-1]}").status_code] += 1
            self.took_s.append(time.monotonic() - began)
            time.sleep(0.02)


@pytest.mark.long
def test_migrations_run_on_a_full_database_while_the_server_runs(
    previous_source: Path, tmp_path: Path, postgres: Server
) -> None:
    name = f"full_{os.getpid()}"
    asyncio.run(execute(postgres.url, f'create database "{name}"'))
    url = named_database(postgres.url, name)
    settings = {"FRAMEHOUSE_DATABASE_URL": url, "FRAMEHOUSE_STORAGE_URL": (tmp_path / "files").as_uri()}
    old = settings | {"PYTHONPATH": f"{previous_source}{os.pathsep}{ROOT}"}
    path = config(tmp_path, tmp_path / "notes", seconds=0.02)
    words: list[str | Path] = ["--config", path, "--data-dir", tmp_path / "data"]
    run("account", "create", "alice", "--concurrency", "100000", *words, code=0, **old)
    key = run_json("key", "create", "alice", *words, code=0, **old)["key"]
    assert asyncio.run(query(url, "select max(number) from migrations")) < migrations()[-1][0]
    asyncio.run(execute(url, FILL))
    with (
        running_process("api", "--port", "0", *words, env=environment(**old)) as api,
        running_process("worker", *words, env=environment(**old)),
        Client(json.loads(api)["url"], key) as submitter,
    ):
        wait_for_count(url, "tasks where coalesce(external_task_id, '') not like 'full-%' and ended_at is not null", 3)
        began = time.monotonic()
        assert asyncio.run(migrate(url))[-1] == "functions"
        took_s = time.monotonic() - began
        assert asyncio.run(query(url, "select max(number) from migrations")) == migrations()[-1][0]
        with running_process("worker", *words, env=environment(**settings)):
            end, enough = time.monotonic() + 90, len(submitter.tasks) + 20
            while len(submitter.tasks) < enough:
                assert submitter.is_alive() and time.monotonic() < end
                time.sleep(0.05)
            submitter.stop()
            wait_for_count(url, "(select where not exists (select from tasks where ended_at is null)) as all_ended", 1)
    assert set(submitter.codes) == {200}, submitter.codes
    assert len(submitter.tasks) > 20
    slowest_s = max(submitter.took_s)
    count = len(submitter.tasks)
    print(f"migrated {TASKS:,} tasks in {took_s:.2f} s; {count} new tasks, the slowest in {slowest_s:.2f} s")  # noqa: T201
    assert slowest_s < 20, "a migration blocked the requests of clients"
    assert asyncio.run(query(url, "select images_in_flight from accounts")) == 0
    asyncio.run(execute(postgres.url, f'drop database "{name}" with (force)'))
