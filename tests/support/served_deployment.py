"""The configuration of a server with the misbehaving engine, and requests to it."""

import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.command_line import PATH
from tests.support.in_process_deployment import MISBEHAVING

REQUEST = {
    "model_name": "kling-v3-omni",
    "prompt": "Create a three-frame product storyboard",
    "result_type": "series",
}


def config(folder: Path, notes: Path, *, seconds: float) -> Path:
    path = folder / "framehouse.toml"
    route = f'{{ engine = "{MISBEHAVING}", notes = "{notes}", seconds = {seconds} }}'
    path.write_text(f'worker_concurrency = 2\n[models."kling-v3-omni"]\nroutes = [{route}]\n')
    return path


def wait(http: httpx.Client, task_id: str) -> dict[str, Any]:
    """Wait for the end of the task, and return the task. Raises AssertionError after two minutes."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        data: dict[str, Any] = http.get(f"{PATH}/{task_id}?wait=30").json()["data"]
        if data["task_status"] in ("succeed", "failed"):
            return data
    raise AssertionError("the task did not end")


def wait_for_images(notes: Path, count: int) -> None:
    """Wait until the engine has generated this number of images. `notes` is the log file of the engine."""
    end = time.monotonic() + 90
    while not notes.exists() or sum(line.startswith("done") for line in notes.read_text().splitlines()) < count:
        assert time.monotonic() < end
        time.sleep(0.02)


def post_with_retries(http: httpx.Client, *, seconds: float = 90) -> str:
    """Submit a task, and repeat the request while the API cannot be reached or answers 503. Returns the task id."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = http.post(PATH, json=REQUEST, timeout=10)
            if answer.status_code == 200:
                return str(answer.json()["data"]["task_id"])
            assert answer.status_code == 503, answer.text
        except httpx.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.1)
