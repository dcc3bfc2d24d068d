"""The scenarios that every client must pass, and the programs (drivers) that run them with one client each.

A driver is started as `PROGRAM SCENARIO FOLDER`. It uses its client as the documentation of the client says, saves the
images in FOLDER, and prints a line of JSON: the paths of the `images`, the `error` of the client, the number of reports
of `progress`, and in `list_and_cancel` the final `status` of the task. The environment contains FRAMEHOUSE_URL,
FRAMEHOUSE_KEY, MODEL, REFERENCE (a PNG file) and IDEMPOTENCY_KEY.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DRIVERS = Path(__file__).parent / "drivers"
ROOT = Path(__file__).parents[2]
PROMPT = "A red fox in the snow"


@dataclass(frozen=True)
class Scenario:
    """`images` is the number of images that the driver saves. `tasks` is the number of tasks that exist afterwards.

    `statuses` are the HTTP statuses of the error that the client must report. `killed` means that the server is killed
    and started again while the client waits.
    """

    name: str
    images: int = 1
    tasks: int = 1
    statuses: tuple[int, ...] = ()
    killed: bool = False


SCENARIOS = (
    Scenario("generate"),
    Scenario("several", images=3),
    Scenario("edit"),
    Scenario("progress"),
    Scenario("repeat", images=2),
    Scenario("wrong_key", images=0, tasks=0, statuses=(401,)),
    Scenario("unknown_model", images=0, tasks=0, statuses=(404,)),
    Scenario("list_and_cancel", images=0),
    Scenario("killed", killed=True),
)


@dataclass(frozen=True)
class Driver:
    """The command of a driver, and the scenarios that its dialect does not have."""

    name: str
    command: tuple[str, ...]
    without: frozenset[str] = frozenset()

    def start(self, scenario: str, folder: Path, env: dict[str, str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.command, scenario, str(folder)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def _python(name: str, *without: str) -> Driver:
    return Driver(name, (sys.executable, str(DRIVERS / f"{name}.py")), frozenset(without))


def _node(name: str, *without: str) -> Driver:
    return Driver(name, ("node", str(DRIVERS / f"{name}.mjs")), frozenset(without))


DRIVEN = (
    _python("framehouse_sync"),
    _python("framehouse_async"),
    _node("typescript"),
    _python("openai_sync", "progress", "list_and_cancel"),
    _python("openai_async", "progress", "list_and_cancel"),
    _python("openai_stream", "list_and_cancel"),
    _node("openai_node", "list_and_cancel"),
    _python("mcp_http"),
    _python("mcp_stdio"),
)


def result_of(driver: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for the end of a driver, and return the line that it printed."""
    output, errors = driver.communicate(timeout=240)
    assert driver.returncode == 0, errors
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result
