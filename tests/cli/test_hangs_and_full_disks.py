"""Hung processes are replaced, stopping takes a limited time, and errors name full and read-only disks."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import PATH, Server, client, run, run_json, serve
from tests.support.disks import FILLING, fill, small_disk
from tests.support.served_deployment import REQUEST, config, post_with_retries, wait

SHORT_LEASE = {"FRAMEHOUSE_LEASE_S": "2"}
"""With this lease, a hung process exits after ten seconds, which is the minimum, or is killed one second later."""


def child(server: Server, name: str) -> int:
    """The pid of the API or the worker of a server."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for pid in server.children():
            if f"\0{name}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        time.sleep(0.05)
    raise AssertionError(f"there is no process {name}")


def test_hung_processes_are_replaced(tmp_path: Path) -> None:
    with serve(tmp_path / "data", **SHORT_LEASE) as server, client(server.url, server.key) as http:
        # a process that has not started completely does not count as hung
        assert wait(http, post_with_retries(http, seconds=60))["task_status"] == "succeed"
        hung = {name: child(server, name) for name in ("worker", "api")}
        for pid in hung.values():
            os.kill(pid, signal.SIGSTOP)
        task = post_with_retries(http, seconds=60)
        assert wait(http, task)["task_status"] == "succeed"
        for name, pid in hung.items():
            assert child(server, name) != pid
    log = (tmp_path / "data.log").read_text()
    for name in ("worker", "API"):
        assert f"the {name} process is hung; killing it" in log


def test_an_engine_that_blocks_the_worker_fails_only_its_own_task(tmp_path: Path) -> None:
    path = config(tmp_path, tmp_path / "notes", seconds=0)
    settings = SHORT_LEASE | {"FRAMEHOUSE_ATTEMPTS": "1"}
    with serve(tmp_path / "data", "--config", path, **settings) as server, client(server.url, server.key) as http:
        ended = wait(http, submit(http, "freeze"))
        assert ended["task_status"] == "failed"
        assert ended["task_status_msg"] == "given up after 1 attempts: the worker died or hung"
        assert wait(http, submit(http, "a fox"))["task_status"] == "succeed"
    assert "in _misbehave" in (tmp_path / "data.log").read_text(), "the log does not name the function that hung"


def test_a_task_that_kills_its_workers_fails_no_other_task(tmp_path: Path) -> None:
    path = config(tmp_path, tmp_path / "notes", seconds=0.5)
    settings = {"FRAMEHOUSE_ATTEMPTS": "3", "FRAMEHOUSE_WORKER_CONCURRENCY": "8"}
    with serve(tmp_path / "data", "--config", path, **settings) as server, client(server.url, server.key) as http:
        tasks = [submit(http, prompt) for prompt in ("a fox", "crash", "a bear")]
        ended = [wait(http, task) for task in tasks]
    assert [task["task_status"] for task in ended] == ["succeed", "failed", "succeed"]
    assert ended[1]["task_status_msg"] == "given up after 3 attempts: the worker died or hung"


def submit(http: httpx.Client, prompt: str) -> str:
    answer = http.post(PATH, json=REQUEST | {"prompt": prompt, "result_type": "single"})
    return str(answer.json()["data"]["task_id"])


def test_a_server_stops_within_its_limit(tmp_path: Path) -> None:
    path = config(tmp_path, tmp_path / "notes", seconds=0)
    with serve(tmp_path / "data", "--config", path, FRAMEHOUSE_STOP_S="1") as server:
        with client(server.url, server.key) as http:
            submit(http, "hang")
            end = time.monotonic() + 90
            while not (tmp_path / "notes").exists():
                assert time.monotonic() < end
                time.sleep(0.02)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 29, "the default limit of 30 seconds was used"
    tasks = run_json("task", "list", "--data-dir", tmp_path / "data")
    assert [task["status"] for task in tasks] == ["processing"]
    with serve(tmp_path / "data", "--config", path, FRAMEHOUSE_STOP_S="0"):
        wait_for_second_attempt(tmp_path / "notes")


def wait_for_second_attempt(notes: Path) -> None:
    """Wait until the engine starts the image of the requeued batch again."""
    end = time.monotonic() + 90
    while sum(line.startswith("start") for line in notes.read_text().splitlines()) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small separate file system. Without root, the test is skipped."""
    with small_disk(folder, megabytes << 20) as mounted:
        if not mounted:
            pytest.skip("only root may mount")
        yield folder


def test_the_first_start_on_a_full_disk_gives_advice(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 8) as small:
        errors = run("serve", "--port", "0", "--data-dir", small / "data", code=1).stderr
        assert "No space left on device" in errors
        assert "free some space" in errors.lower()


def test_a_later_start_on_a_full_disk_gives_advice(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 120) as small:
        with serve(small / "data") as server:
            key = server.key
            server.stop()
        fill(small)
        errors = run("serve", "--port", "0", "--data-dir", small / "data", code=1).stderr
        assert "no space left" in errors.lower()
        assert "free some space" in errors.lower()
        (small / FILLING).unlink()
        with serve(small / "data") as server, client(server.url, key) as http:
            assert wait(http, post_with_retries(http))["task_status"] == "succeed"


def test_no_task_is_lost_when_the_disk_fills(tmp_path: Path) -> None:
    # 400 MB have room for the database and for the images of all 32 tasks
    with disk(tmp_path / "disk", 400) as small, serve(small / "data") as server, client(server.url, server.key) as http:
        before = post_with_retries(http)
        assert wait(http, before)["task_status"] == "succeed"
        fill(small)
        codes = {http.post(PATH, json=REQUEST | {"prompt": "x" * 2000}).status_code for _ in range(30)}
        assert codes <= {200, 503}, codes
        (small / FILLING).unlink()
        listed = http.get(f"{PATH}?pageSize=100").json()["data"]
        assert {wait(http, task["task_id"])["task_status"] for task in listed} == {"succeed"}
        assert wait(http, post_with_retries(http))["task_status"] == "succeed"
        account = run_json("account", "show", "default", "--data-dir", small / "data")
        assert account["images_in_flight"] == 0


def test_a_start_on_a_read_only_disk_gives_advice(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 120) as small:
        with serve(small / "data") as server:
            server.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        errors = run("serve", "--port", "0", "--data-dir", small / "data", code=1).stderr
        assert "Read-only file system" in errors
        assert "--data-dir" in errors
