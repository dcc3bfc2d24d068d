"""The scenarios of `tests/clients` for MCP clients. The two drivers differ only in the transport."""

import asyncio
import base64
import json
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
from mcp_types import CallToolResult, ResourceLink, TextContent

from framehouse.domain.errors import HTTP_STATUS
from mcp import Client

Connect = Callable[[str, str], AbstractAsyncContextManager[Client]]
_RESTART_S = 120
FOX: dict[str, Any] = {"prompt": "A red fox in the snow", "aspect_ratio": "16:9", "wait_s": 300}


class ToolError(Exception):
    """The result of a tool call is an error."""


class Driver:
    def __init__(self, connect: Connect, folder: Path, *, local_files: bool) -> None:
        self._connect = connect
        self._folder = folder
        self._local_files = local_files
        self._url, self._key = os.environ["FRAMEHOUSE_URL"], os.environ["FRAMEHOUSE_KEY"]
        self._progress = 0

    async def run(self, scenario: str) -> dict[str, Any]:
        images: list[str] = []
        report: dict[str, Any] = {"images": images, "error": None}
        try:
            match scenario:
                case "generate" | "progress":
                    images += await self._create(FOX)
                case "wrong_key":
                    self._key = "fh_wrong"
                    images += await self._create(FOX)
                case "several":
                    images += await self._create(FOX | {"n": 3})
                case "edit":
                    images += await self._create(FOX | {"images": [self._reference()], "aspect_ratio": "auto"})
                case "unknown_model":
                    images += await self._create(FOX | {"model": "no-such-model"})
                case "repeat":
                    for _ in range(2):
                        images += await self._create(self._with_key(FOX))
                case "killed":
                    images += await self._create_despite_restart(self._with_key(FOX))
                case "list_and_cancel":
                    report["status"] = await self._list_and_cancel()
        except Exception as error:  # noqa: BLE001 - the harness compares all errors
            report["error"] = _error(error)
        return report | {"progress": self._progress}

    async def _create(self, arguments: dict[str, Any]) -> list[str]:
        async with self._connect(self._url, self._key) as client:
            result = await client.call_tool("create_images", arguments, progress_callback=self._on_progress)
        return await self._save(_checked(result))

    async def _create_despite_restart(self, arguments: dict[str, Any]) -> list[str]:
        """Repeat the same call with the same idempotency key while the server cannot be reached."""
        end = time.monotonic() + _RESTART_S
        while True:
            try:
                return await self._create(arguments)
            except ToolError:
                raise
            except Exception:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.5)

    async def _list_and_cancel(self) -> str:
        async with self._connect(self._url, self._key) as client:
            created = _checked(await client.call_tool("create_images", FOX | {"wait_s": 0}))
            task_id = created.structured_content["task_id"]
            listed = _checked(await client.call_tool("list_tasks", {}))
            assert task_id in [task["task_id"] for task in listed.structured_content["tasks"]]
            cancelled = _checked(await client.call_tool("cancel_task", {"task_id": task_id}))
            return str(cancelled.structured_content["status"])

    async def _save(self, result: CallToolResult) -> list[str]:
        paths = []
        async with httpx.AsyncClient() as http:
            for block in result.content:
                if isinstance(block, ResourceLink):
                    response = (await http.get(block.uri, follow_redirects=True)).raise_for_status()
                    path = self._folder / f"{block.name}.{response.headers['content-type'].partition('/')[2]}"
                    path.write_bytes(response.content)
                    paths.append(str(path))
        return paths

    async def _on_progress(self, progress: float, total: float | None, message: str | None) -> None:
        self._progress += 1

    def _reference(self) -> str:
        path = Path(os.environ["REFERENCE"])
        if self._local_files:
            return str(path)
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"

    def _with_key(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments | {"idempotency_key": os.environ["IDEMPOTENCY_KEY"]}


def _checked(result: CallToolResult) -> CallToolResult:
    if result.is_error:
        raise ToolError("\n".join(block.text for block in result.content if isinstance(block, TextContent)))
    return result


def _error(error: BaseException) -> dict[str, Any]:
    """Return the first cause of an error as the harness expects it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    code = re.search(r"\bcode (\d{4})\b", str(error))
    status = getattr(getattr(error, "response", None), "status_code", None)
    return {
        "status": status or (HTTP_STATUS.get(int(code[1])) if code else None),
        "code": int(code[1]) if code else getattr(error, "code", None),
        "message": str(error),
        "class": type(error).__name__,
    }


def main(connect: Connect, *, local_files: bool) -> None:
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    report = asyncio.run(Driver(connect, folder, local_files=local_files).run(scenario))
    print(json.dumps(report))
