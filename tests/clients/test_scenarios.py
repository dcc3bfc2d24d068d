"""Every client passes the same scenarios, also while the server is killed and started again."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.clients.scenarios import DRIVEN, ROOT, SCENARIOS, Driver, Scenario, result_of
from tests.support.command_line import Server, client, environment, serve
from tests.support.image_files import image_file
from tests.support.served_deployment import config

CASES = [(driver, scenario) for driver in DRIVEN for scenario in SCENARIOS if scenario.name not in driver.without]
SLOW = ("list_and_cancel", "killed")


@contextmanager
def served(folder: Path, *, seconds: float, port: int = 0) -> Iterator[Server]:
    """Serve with an engine that needs this time per image. It reports its progress ten times per image."""
    path = config(folder, folder / "notes", seconds=seconds)
    with serve(folder / "data", "--config", path, "--port", str(port), FRAMEHOUSE_WORKER_CONCURRENCY="8") as server:
        yield server


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("quick"), seconds=0.5) as server:
        yield server


def tasks(http: httpx.Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = http.get("/kling/v1/tasks?pageSize=500").json()["data"]
    return listed


def environment_of(server: Server, key: str, folder: Path) -> dict[str, str]:
    reference = folder / "reference.png"
    reference.write_bytes(image_file(640, 480))
    paths = os.pathsep.join((str(ROOT), str(ROOT / "clients/python/src")))
    return environment(
        FRAMEHOUSE_URL=server.url,
        FRAMEHOUSE_KEY=key,
        MODEL="kling-v3-omni",
        REFERENCE=str(reference),
        IDEMPOTENCY_KEY=folder.name,
        PYTHONPATH=paths,
    )


@pytest.mark.parametrize(("driver", "scenario"), CASES, ids=[f"{d.name}-{s.name}" for d, s in CASES])
@pytest.mark.xdist_group("scenarios")
def test_a_client_passes_a_scenario(
    request: pytest.FixtureRequest, tmp_path: Path, driver: Driver, scenario: Scenario
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    if scenario.name in SLOW:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with served(tmp_path, seconds=3, port=port) as server:
            key, env = server.key, environment_of(server, server.key, tmp_path)
            running = driver.start(scenario.name, images, env)
            if scenario.killed:
                with client(server.url, key) as http:
                    end = time.monotonic() + 60
                    while not tasks(http):
                        assert running.poll() is None, running.communicate()
                        assert time.monotonic() < end
                        time.sleep(0.05)
                server.kill()
            else:
                result = result_of(running)
                with client(server.url, key) as http:
                    listed = tasks(http)
        if scenario.killed:
            with served(tmp_path, seconds=3, port=port) as server, client(server.url, key) as http:
                result = result_of(running)
                listed = tasks(http)
    else:
        quick: Server = request.getfixturevalue("quick")
        with client(quick.url, quick.key) as http:
            before = {task["task_id"] for task in tasks(http)}
            result = result_of(driver.start(scenario.name, images, environment_of(quick, quick.key, tmp_path)))
            listed = [task for task in tasks(http) if task["task_id"] not in before]
    check(result, listed, scenario)


def check(result: dict[str, Any], listed: list[dict[str, Any]], scenario: Scenario) -> None:
    assert len(listed) == scenario.tasks
    if scenario.statuses:
        assert result["error"]["status"] in scenario.statuses, result
        assert result["error"]["message"]
    else:
        assert result["error"] is None, result
    assert len(result["images"]) == scenario.images
    contents = [Path(path).read_bytes() for path in result["images"]]
    for path in result["images"]:
        with Image.open(path) as image:
            assert image.size == ((1152, 864) if scenario.name == "edit" else (1280, 720))
    match scenario.name:
        case "repeat":
            assert contents[0] == contents[1]
        case "several":
            assert len(set(contents)) == 3
        case "progress":
            assert result["progress"] >= 1
        case "list_and_cancel":
            assert result["status"] == "failed"
            assert listed[0]["task_status_msg"] == "Canceled"
