"""A served house that generates with the misbehaving engine, and what a client does with it."""

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
    end = time.monotonic() + 120
    while time.monotonic() < end:
        data: dict[str, Any] = http.get(f"{PATH}/{task_id}?wait=30").json()["data"]
        if data["task_status"] in ("succeed", "failed"):
            return data
    raise AssertionError("the task did not end")


def wait_for(notes: Path, lines: int) -> None:
    end = time.monotonic() + 90
    while not notes.exists() or sum(line.startswith("done") for line in notes.read_text().splitlines()) < lines:
        assert time.monotonic() < end
        time.sleep(0.02)


def post_patiently(http: httpx.Client, *, seconds: float = 90) -> str:
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
