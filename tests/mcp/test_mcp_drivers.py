"""The drivers of `tests/clients` deliver the images of their scenarios."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_server import Api
from tests.support.command_line import ROOT, environment
from tests.support.image_files import image_file
from tests.support.mcp_clients import key_of

both_drivers = pytest.mark.parametrize("driver", ["mcp_http.py", "mcp_stdio.py"])


async def drive(api: Api, driver: str, scenario: str, folder: Path, **extra: str) -> dict[str, Any]:
    (folder / "reference.png").write_bytes(image_file(600, 400))
    settings = {"FRAMEHOUSE_URL": api.url, "FRAMEHOUSE_KEY": key_of(api.alice), "IDEMPOTENCY_KEY": "key-1"}
    settings |= {"REFERENCE": str(folder / "reference.png")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "tests" / "clients" / "drivers" / driver,
        scenario,
        folder,
        stdout=asyncio.subprocess.PIPE,
        env=environment(**(settings | extra)),
    )
    out, _ = await process.communicate()
    report: dict[str, Any] = json.loads(out)
    return report


@both_drivers
async def test_the_scenarios_deliver_images(working: Api, tmp_path: Path, driver: str) -> None:
    for scenario, count in (("progress", 1), ("several", 3), ("edit", 1), ("repeat", 2), ("killed", 1)):
        report = await drive(working, driver, scenario, tmp_path)
        assert report["error"] is None
        assert len(report["images"]) == count
        assert all(map(is_png, report["images"]))
        assert report["progress"] > 0
    tasks = (await working.alice.get("/v1/tasks")).json()["data"]
    assert len(tasks) == 4  # the second call of `repeat`, and `killed`, have the idempotency key of an earlier call


@both_drivers
async def test_errors_have_the_status_of_the_api(api: Api, tmp_path: Path, driver: str) -> None:
    wrong_key = await drive(api, driver, "wrong_key", tmp_path, FRAMEHOUSE_KEY="fh_wrong")
    assert (wrong_key["images"], wrong_key["error"]["status"]) == ([], 401)
    unknown = await drive(api, driver, "unknown_model", tmp_path)
    assert (unknown["error"]["status"], unknown["error"]["code"]) == (404, 1203)


@both_drivers
async def test_a_task_is_listed_and_cancelled(api: Api, tmp_path: Path, driver: str) -> None:
    report = await drive(api, driver, "list_and_cancel", tmp_path)
    assert (report["error"], report["status"]) == (None, "failed")


def is_png(path: str) -> bool:
    return Path(path).read_bytes().startswith(b"\x89PNG")
