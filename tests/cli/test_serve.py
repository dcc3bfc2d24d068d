"""The whole server, started as a user starts it, then killed, restarted or stopped."""

import asyncio
import socket
import subprocess
import sys
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
from tests.support.served_deployment import REQUEST, config, post_with_retries, wait, wait_for_images
from tests.support.sockets import free_port


def test_the_request_of_the_readme_succeeds(tmp_path: Path) -> None:
    with serve_unprepared(tmp_path / "data") as server:
        assert "shown only once" in server.out
        with client(server.url, server.key) as http:
            task = http.post(PATH, json=REQUEST).json()["data"]
            data = wait(http, task["task_id"])
            assert data["final_unit_deduction"] == "24"
            for image in data["task_result"]["series_images"]:
                content = httpx.get(image["url"], timeout=60).content
                assert (content[1:4], content[16:24]) == (b"PNG", (1280).to_bytes(4, "big") + (720).to_bytes(4, "big"))
        assert server.stop() == 0
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists(), "the database is still running"


@pytest.mark.parametrize("after_s", [0, 0.2, 0.8])
@pytest.mark.parametrize("command", [["worker"], ["api", "--port", "0"]])
def test_a_process_that_is_stopped_while_it_starts_exits_with_code_0(
    tmp_path: Path, command: list[str], after_s: float
) -> None:
    prepare(tmp_path / "data")
    words = [*command, "--json", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen([*FRAMEHOUSE, *words], env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        time.sleep(after_s)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists(), "the database is still running"


_SIGNAL_DURING_STARTUP = """
import signal
from framehouse import wiring
from framehouse.cli import main
from framehouse.entrypoints.api import api_app, connection_limits

def with_signal(function):
    def call(*args, **named):
        signal.raise_signal(signal.SIGTERM)
        return function(*args, **named)
    return call

{module}.{name} = with_signal({module}.{name})
main()
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("wiring", "open_deployment"),
        ("wiring", "shared_secret"),
        ("api_app", "build_api"),
        ("connection_limits", "server_config"),
        ("wiring", "freeze_loaded_objects"),
    ],
)
def test_a_signal_during_the_startup_of_the_api_is_not_lost(tmp_path: Path, module: str, name: str) -> None:
    """The event loop does not run while these functions run, so it can handle the signal only later."""
    prepare(tmp_path / "data")
    program = _SIGNAL_DURING_STARTUP.format(module=module, name=name)
    command = [sys.executable, "-c", program, "api", "--port", "0", "--data-dir", str(tmp_path / "data")]
    stopped = subprocess.run(command, env=environment(), stderr=subprocess.PIPE, text=True, timeout=60)
    assert stopped.returncode == 0, stopped.stderr
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists(), "the database is still running"


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
                waiting = "select count(*) from pg_stat_activity where query like 'select pg_try_advisory_lock%'"
                await eventually(lambda: connection.fetchval(waiting))
                worker.terminate()
                async with asyncio.timeout(30):
                    return await worker.wait()
            finally:
                await connection.close()

        assert asyncio.run(stopped_while_locked()) == 0
    finally:
        server.stop()


@pytest.mark.parametrize("killed", ["all processes", "only the supervisor"])
def test_a_task_survives_a_kill_of_the_server(tmp_path: Path, killed: str) -> None:
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=2.0)
    with serve(tmp_path / "data", "--config", path) as server:
        key = server.key
        with client(server.url, key) as http:
            task_id = http.post(PATH, json=REQUEST | {"series_amount": 7}).json()["data"]["task_id"]
            wait_for_images(notes, 3)
            task = http.get(f"{PATH}/{task_id}").json()["data"]
            assert task["task_status"] == "processing"
        if killed == "all processes":
            server.kill()
        else:
            server.process.kill()
            server.process.wait()
    with serve(tmp_path / "data", "--config", path) as server, client(server.url, key) as http:
        assert "fh_" not in server.out, "the key is shown a second time"
        data = wait(http, task_id)
        assert data["task_status"] == "succeed"
        images = data["task_result"]["series_images"]
        assert [image["index"] for image in images] == list(range(7))
        assert all(httpx.get(image["url"], timeout=60).status_code == 200 for image in images)
    lines = Counter(notes.read_text().splitlines())
    done = [count for line, count in lines.items() if line.startswith("done")]
    assert len(done) == 7
    assert sum(done) <= 7 + 2, "more than the two images that were finished but not saved were generated again"
    account = run_json("account", "show", "default", "--data-dir", tmp_path / "data")
    assert (account["images_in_flight"], account["units_used"]) == (0, 56)


def test_processes_that_die_are_restarted(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        postgres = int((server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        process_tree.kill([*server.children(), postgres])
        with client(server.url, server.key) as http:
            task_id = post_with_retries(http)
            assert wait(http, task_id)["task_status"] == "succeed"


def test_sigterm_lets_workers_finish_their_images(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=2.0)
    with serve(tmp_path / "data", "--config", path) as server:
        with client(server.url, server.key) as http:
            http.post(PATH, json=REQUEST | {"series_amount": 9})
            wait_for_images(notes, 1)
        assert server.stop() == 0
        lines = Counter(line.split()[0] for line in notes.read_text().splitlines())
        assert lines["start"] == lines["done"]
        assert lines["done"] < 9


def test_serve_reports_an_invalid_configuration_before_it_creates_a_key(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    toml = tmp_path / "data" / "framehouse.toml"
    toml.write_text('[models.x]\nroutes = [{ engine = "none" }]\n')
    assert (
        "the installed engines are comfyui, diffusers, fal, gemini, kling, openai_images, previz"
        in run("serve", "--port", "0", "--data-dir", tmp_path / "data", code=1).stderr
    )
    toml.write_text('watermark_logo = "/no/such.png"\n')
    assert "watermark_logo" in run("serve", "--port", "0", "--data-dir", tmp_path / "data", code=1).stderr
    toml.unlink()
    assert run_json("account", "list", "--data-dir", tmp_path / "data") == [], "the account of the key was created"


def test_the_error_for_a_used_port_gives_advice(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "--port", port, "--data-dir", tmp_path / "data", code=1)
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr


def test_api_and_worker_can_run_as_separate_commands(tmp_path: Path) -> None:
    """The API and the worker share one database and one storage, as on two machines."""
    with serve(tmp_path / "data") as server:
        key = server.key
    port = free_port()
    processes = [
        subprocess.Popen([*FRAMEHOUSE, *words, "--data-dir", str(tmp_path / "data")], env=environment())
        for words in (["api", "--port", str(port)], ["worker"])
    ]
    try:
        with client(f"http://127.0.0.1:{port}", key) as http:
            assert wait(http, post_with_retries(http))["task_status"] == "succeed"
    finally:
        for process in processes:
            process.terminate()
        assert [process.wait(timeout=60) for process in processes] == [0, 0]


@pytest.mark.parametrize(("engine", "named"), [("previz", True), ("framehouse.testing.misbehaving:Misbehaving", False)])
def test_the_greeting_names_the_setup_while_previz_is_the_only_engine(tmp_path: Path, engine: str, named: bool) -> None:
    config = tmp_path / "framehouse.toml"
    config.write_text(f'[models."kling-v3-omni"]\nroutes = [{{ engine = "{engine}" }}]')
    with serve(tmp_path / "data", "--config", str(config)) as server:
        assert ("setup" in server.out) == named
