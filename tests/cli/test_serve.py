"""The whole server as a user starts it: killed, restarted, stopped."""

import asyncio
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import asyncpg
import httpx
import pytest

from framehouse.adapters.postgres import migrate
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from tests.support import process_tree
from tests.support.command_line import FRAMEHOUSE, PATH, client, environment, run, run_json, serve, serve_unprepared
from tests.support.data_folder import prepare
from tests.support.eventually import eventually
from tests.support.served_deployment import REQUEST, config, post_patiently, wait, wait_for
from tests.support.sockets import free_port


def test_the_curl_of_the_readme(tmp_path: Path) -> None:
    with serve_unprepared(tmp_path / "data") as server:
        assert "shown only once" in server.out
        with client(server.url, server.key) as http:
            task = http.post(PATH, json=REQUEST).json()["data"]
            data = wait(http, task["task_id"])
            assert data["final_unit_deduction"] == "24"
            for image in data["task_result"]["series_images"]:
                content = httpx.get(image["url"]).content
                assert (content[1:4], content[16:24]) == (b"PNG", (1280).to_bytes(4, "big") + (720).to_bytes(4, "big"))
        assert server.stop() == 0
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists(), "nothing is left running"
    with serve(tmp_path / "data") as server:
        assert "fh_" not in server.out, "the key is shown once"


@pytest.mark.parametrize("after_s", [0, 0.2, 0.8])
@pytest.mark.parametrize("part", [["worker"], ["api", "--port", "0"]])
def test_what_is_stopped_while_it_starts_ends_without_an_error(tmp_path: Path, part: list[str], after_s: float) -> None:
    prepare(tmp_path / "data")
    words = [*part, "--json", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen([*FRAMEHOUSE, *words], env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        time.sleep(after_s)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists(), "nothing is left running"


def test_a_worker_that_waits_for_another_migration_can_be_stopped(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    server = EmbeddedPostgres(tmp_path / "data")
    server.start()
    try:
        words = ["worker", "--json", "--data-dir", str(tmp_path / "data")]

        async def stopped_while_locked() -> int | None:
            connection = await asyncpg.connect(server.url)
            await connection.execute("select pg_advisory_lock($1)", migrate.LOCK)
            try:
                worker = await asyncio.create_subprocess_exec(*FRAMEHOUSE, *words, env=environment())
                asking = "select count(*) from pg_stat_activity where query like 'select pg_try_advisory_lock%'"
                await eventually(lambda: connection.fetchval(asking))
                worker.terminate()
                async with asyncio.timeout(30):
                    return await worker.wait()
            finally:
                await connection.close()

        assert asyncio.run(stopped_while_locked()) == 0
    finally:
        server.stop()


@pytest.mark.parametrize("what", ["everything", "the supervisor alone"])
def test_killed_in_mid_task_and_started_again(tmp_path: Path, what: str) -> None:
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=0.6)
    with serve(tmp_path / "data", "--config", path) as server:
        key = server.key
        with client(server.url, key) as http:
            task_id = http.post(PATH, json=REQUEST | {"series_amount": 7}).json()["data"]["task_id"]
            wait_for(notes, 3)
            kept = http.get(f"{PATH}/{task_id}").json()["data"]
            assert kept["task_status"] == "processing"
        if what == "everything":
            server.kill()
        else:
            server.process.kill()
            server.process.wait()
    with serve(tmp_path / "data", "--config", path) as server, client(server.url, key) as http:
        data = wait(http, task_id)
        assert data["task_status"] == "succeed"
        images = data["task_result"]["series_images"]
        assert [image["index"] for image in images] == list(range(7))
        assert all(httpx.get(image["url"]).status_code == 200 for image in images)
    lines = Counter(notes.read_text().splitlines())
    done = [count for line, count in lines.items() if line.startswith("done")]
    assert len(done) == 7
    assert sum(done) <= 7 + 2, "at most what two brushes had just finished but not yet recorded is painted again"
    account = run_json("account", "show", "default", "--data-dir", tmp_path / "data")
    assert (account["images_in_flight"], account["units_used"]) == (0, 56)


def test_parts_that_die_are_started_again(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        postgres = int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        process_tree.kill([*server.children(), postgres])
        with client(server.url, server.key) as http:
            task_id = post_patiently(http)
            assert wait(http, task_id)["task_status"] == "succeed"


def test_sigterm_finishes_what_is_in_hand(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=1.0)
    with serve(tmp_path / "data", "--config", path) as server:
        with client(server.url, server.key) as http:
            http.post(PATH, json=REQUEST | {"series_amount": 6})
            wait_for(notes, 1)
        assert server.stop() == 0
        lines = Counter(line.split()[0] for line in notes.read_text().splitlines())
        assert lines["start"] == lines["done"]
        assert lines["done"] < 6


def test_what_stops_every_part_is_said_before_a_key_is_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    toml = tmp_path / "data" / "framehouse.toml"
    toml.write_text('[models.x]\nroutes = [{ engine = "none" }]\n')
    assert (
        "the installed engines are diffusers, kling, openai_images, previz"
        in run("serve", "--port", "0", "--data-dir", tmp_path / "data", code=1).stderr
    )
    toml.write_text('watermark_logo = "/no/such.png"\n')
    assert "watermark_logo" in run("serve", "--port", "0", "--data-dir", tmp_path / "data", code=1).stderr
    toml.unlink()
    with serve(tmp_path / "data") as server:
        assert server.key.startswith("fh_")


def test_a_taken_port_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, "--data-dir", tmp_path / "data", code=1)
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr


def test_api_and_worker_apart(tmp_path: Path) -> None:
    """Two machines' worth: the API and the worker each on their own, on one database and one storage."""
    with serve(tmp_path / "data") as server:
        key = server.key
    port = free_port()
    parts = [
        subprocess.Popen([*FRAMEHOUSE, *words, "--data-dir", str(tmp_path / "data")], env=environment())
        for words in (["api", "--port", str(port)], ["worker"])
    ]
    try:
        with client(f"http://127.0.0.1:{port}", key) as http:
            assert wait(http, post_patiently(http))["task_status"] == "succeed"
    finally:
        for part in parts:
            part.terminate()
        assert [part.wait(timeout=60) for part in parts] == [0, 0]
