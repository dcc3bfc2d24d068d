"""The server on bad days: what hangs is replaced, stopping has an end, full and closed disks are told."""

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
from tests.support.served_deployment import REQUEST, config, post_patiently, wait

SHORT = {"FRAMEHOUSE_LEASE_S": "2"}
"""What hangs is then replaced after ten seconds, the least there is."""


def child(server: Server, name: str) -> int:
    """The pid of the API or the worker of a server."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for pid in server.children():
            if f"\0{name}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        time.sleep(0.05)
    raise AssertionError(f"there is no {name}")


@pytest.mark.parametrize("part", ["worker", "api"])
def test_a_part_that_hangs_is_replaced(tmp_path: Path, part: str) -> None:
    with serve(tmp_path / "data", **SHORT) as server, client(server.url, server.key) as http:
        hung = child(server, part)
        os.kill(hung, signal.SIGSTOP)
        task = post_patiently(http, seconds=60)
        assert wait(http, task)["task_status"] == "succeed"
        assert child(server, part) != hung
    log = (tmp_path / "data.log").read_text()
    assert f"the {'API' if part == 'api' else part} process hangs and is killed" in log


def test_an_engine_that_hangs_the_worker_fails_its_own_task(tmp_path: Path) -> None:
    path = config(tmp_path, tmp_path / "notes", seconds=0)
    settings = SHORT | {"FRAMEHOUSE_ATTEMPTS": "1"}
    with serve(tmp_path / "data", "--config", path, **settings) as server, client(server.url, server.key) as http:
        ended = wait(http, submit(http, "freeze"))
        assert ended["task_status"] == "failed"
        assert ended["task_status_msg"] == "given up after 1 attempts: the worker died or hung"
        assert wait(http, submit(http, "a fox"))["task_status"] == "succeed"
    assert "in _misbehave" in (tmp_path / "data.log").read_text(), "it says where it hung"


def test_a_task_that_kills_its_workers_takes_no_other_along(tmp_path: Path) -> None:
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


def test_stopping_ends_within_its_limit(tmp_path: Path) -> None:
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
        assert time.monotonic() - began < 20, "its default is 30 seconds"
    figures = run_json("task", "list", "--data-dir", tmp_path / "data")
    assert [task["status"] for task in figures] == ["processing"]
    with serve(tmp_path / "data", "--config", path, FRAMEHOUSE_STOP_S="0"):
        wait_for_attempt(tmp_path / "notes")


def wait_for_attempt(notes: Path) -> None:
    """Until what was handed back is begun again."""
    end = time.monotonic() + 90
    while sum(line.startswith("start") for line in notes.read_text().splitlines()) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small file system of its own."""
    with small_disk(folder, megabytes << 20) as mounted:
        if not mounted:
            pytest.skip("only root may mount")
        yield folder


def test_a_full_disk_says_what_to_do_at_the_start(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 8) as small:
        said = run("serve", "--port", "0", "--data-dir", small / "data", code=1).stderr
        assert "No space left on device" in said
        assert "free some space" in said.lower()


def test_a_full_disk_says_what_to_do_at_the_second_start(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 120) as small:
        with serve(small / "data") as server:
            key = server.key
            server.stop()
        fill(small)
        said = run("serve", "--port", "0", "--data-dir", small / "data", code=1).stderr
        assert "no space left" in said.lower()
        assert "free some space" in said.lower()
        (small / FILLING).unlink()
        with serve(small / "data") as server, client(server.url, key) as http:
            assert wait(http, post_patiently(http))["task_status"] == "succeed"


def test_a_disk_that_fills_while_it_serves_loses_nothing(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 120) as small, serve(small / "data") as server, client(server.url, server.key) as http:
        before = post_patiently(http)
        assert wait(http, before)["task_status"] == "succeed"
        fill(small)
        codes = {http.post(PATH, json=REQUEST | {"prompt": "x" * 2000}).status_code for _ in range(30)}
        assert codes <= {200, 503}, codes
        (small / FILLING).unlink()
        listed = http.get(f"{PATH}?pageSize=100").json()["data"]
        assert {wait(http, task["task_id"])["task_status"] for task in listed} == {"succeed"}
        assert wait(http, post_patiently(http))["task_status"] == "succeed"
        account = run_json("account", "show", "default", "--data-dir", small / "data")
        assert account["images_in_flight"] == 0


def test_a_closed_disk_says_what_to_do(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 120) as small:
        with serve(small / "data") as server:
            server.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        said = run("serve", "--port", "0", "--data-dir", small / "data", code=1).stderr
        assert "Read-only file system" in said
        assert "--data-dir" in said
