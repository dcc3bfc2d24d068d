"""Run one scenario of tests/clients/scenarios.py with `AsyncClient`: framehouse_async.py SCENARIO FOLDER"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from framehouse_client import AsyncClient, FramehouseError

PROMPT = "A red fox in the snow"
SCENARIO, FOLDER = sys.argv[1:3]


async def run(client: AsyncClient) -> dict[str, Any]:
    reports: list[float] = []
    names = {"model": "MODEL", "idempotency_key": "IDEMPOTENCY_KEY"}
    fields: dict[str, Any] = {field: os.environ[name] for field, name in names.items() if os.environ.get(name)}
    fields["aspect_ratio"] = "16:9"
    match SCENARIO:
        case "several":
            fields["n"] = 3
        case "edit":
            fields |= {"images": [os.environ["REFERENCE"]], "aspect_ratio": None}
        case "unknown_model":
            fields["model"] = "no-such-model"
        case "list_and_cancel":
            task = await client.create(PROMPT, **fields, n=9)
            async for listed in client.tasks():
                if listed.id == task.id:
                    return {"images": [], "status": (await listed.cancel()).status}
            raise AssertionError("the task is not in the list")
    paths: list[Path] = []
    for _ in range(2 if SCENARIO == "repeat" else 1):
        task = await client.create(PROMPT, **fields)
        await task.wait(on_progress=lambda task: reports.append(task.progress))
        paths += await task.save(FOLDER)
    return {"images": [str(path) for path in paths], "progress": len(reports)}


async def main() -> dict[str, Any]:
    result: dict[str, Any] = {"images": [], "error": None, "progress": 0}
    try:
        async with AsyncClient(key="fh_wrong" if SCENARIO == "wrong_key" else None) as client:
            return result | await run(client)
    except FramehouseError as error:
        described = {"status": error.status, "code": error.code, "message": error.message}
        return result | {"error": described | {"class": type(error).__name__}}


print(json.dumps(asyncio.run(main())))
