"""Run one scenario of tests/clients/scenarios.py with `Client`: framehouse_sync.py SCENARIO FOLDER"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from framehouse_client import Client, FramehouseError

PROMPT = "A red fox in the snow"
SCENARIO, FOLDER = sys.argv[1:3]
NAMES = {"model": "MODEL", "idempotency_key": "IDEMPOTENCY_KEY"}


def run(client: Client) -> dict[str, Any]:
    reports: list[float] = []
    fields: dict[str, Any] = {field: os.environ[name] for field, name in NAMES.items() if os.environ.get(name)}
    fields["aspect_ratio"] = "16:9"
    match SCENARIO:
        case "several":
            fields["n"] = 3
        case "edit":
            fields |= {"images": [os.environ["REFERENCE"]], "aspect_ratio": None}
        case "unknown_model":
            fields["model"] = "no-such-model"
        case "list_and_cancel":
            task = client.create(PROMPT, **fields, n=9)
            listed = next(listed for listed in client.tasks() if listed.id == task.id)
            return {"images": [], "status": listed.cancel().status}
    paths: list[Path] = []
    for _ in range(2 if SCENARIO == "repeat" else 1):
        task = client.create(PROMPT, **fields)
        paths += task.wait(on_progress=lambda task: reports.append(task.progress)).save(FOLDER)
    return {"images": [str(path) for path in paths], "progress": len(reports)}


result: dict[str, Any] = {"images": [], "error": None, "progress": 0}
try:
    with Client(key="fh_wrong" if SCENARIO == "wrong_key" else None) as client:
        result |= run(client)
except FramehouseError as error:
    result["error"] = {
        "status": error.status,
        "code": error.code,
        "message": error.message,
        "class": type(error).__name__,
    }
print(json.dumps(result))
