"""Follow the progress of a job over ComfyUI's WebSocket.

The WebSocket only makes the progress visible and the end of a job known earlier. If the connection fails or ends, the
engine still finds the end of the job in ComfyUI's history.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from framehouse.adapters.tls import tls_context
from framehouse.engines.comfyui.preview_frames import read_preview

_MAX_MESSAGE_BYTES = 16_000_000
_CONNECT_TIMEOUT_S = 10.0
_END_EVENTS = ("execution_success", "execution_error", "execution_interrupted")


class JobProgress:
    """The progress of a job of `node_count` nodes, according to the messages of ComfyUI.

    `share` is the progress of the job, and never decreases. `node_share` is the progress of the current node. `running`
    is true while the server runs this job.
    """

    def __init__(self, job_id: str, node_count: int) -> None:
        self._job_id = job_id
        self._node_count = node_count
        self._done: set[str] = set()
        self._current = ""
        self.share = self.node_share = 0.0
        self.running = False

    def read(self, message: str) -> bool:
        """Read a message, and return whether the job has ended. Messages about other jobs are ignored."""
        try:
            event = json.loads(message)
            kind, data = event["type"], event["data"]
            if "prompt_id" in data:  # the server runs one job at a time
                ended = kind in _END_EVENTS or (kind == "executing" and data["node"] is None)
                self.running = data["prompt_id"] == self._job_id and not ended
            return data.get("prompt_id", self._job_id) == self._job_id and self._read(kind, data)
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError, ZeroDivisionError):
            return False

    def _read(self, kind: object, data: Mapping[str, Any]) -> bool:
        if kind in _END_EVENTS:
            return True
        fraction = 0.0
        match kind:
            case "execution_cached":
                self._done.update(map(str, data["nodes"]))
            case "executing":
                if self._current:
                    self._done.add(self._current)
                if data["node"] is None:
                    return "prompt_id" in data
                self._current = str(data["node"])
            case "executed":
                self._done.add(str(data["node"]))
            case "progress":
                fraction = float(data["value"]) / float(data["max"])
            case "progress_state":
                nodes = data["nodes"]
                self._done.update(str(key) for key, node in nodes.items() if node["state"] == "finished")
                running = [node for node in nodes.values() if node["state"] == "running"]
                fraction = sum(float(node["value"]) / float(node["max"]) for node in running)
            case _:
                return False
        self.node_share = min(1.0, max(0.0, fraction))
        share = (len(self._done) + self.node_share) / self._node_count
        self.share = max(self.share, min(1.0, share))
        return False


class ProgressSocket:
    """A WebSocket that receives the messages about one job. `progress` contains the job's progress.

    `previews` is the maximum number of previews to receive. They are spread over the progress of the node that sends
    them, because the first steps of a sampler show only noise.
    """

    def __init__(self, url: str, job_id: str, headers: Mapping[str, str], node_count: int, *, previews: int) -> None:
        self._job_id = job_id
        self._previews = previews
        self._received_previews = 0
        self._preview: bytes | None = None
        self._url = f"ws{url.removeprefix('http')}/ws?clientId={job_id}"
        self._headers = headers
        self._changed = asyncio.Event()
        self._ended = False
        self._listener: asyncio.Task[None] | None = None
        self.progress = JobProgress(job_id, node_count)
        self.connected = False

    def start(self) -> None:
        """Connect in the background."""
        self._listener = asyncio.create_task(self._listen())

    async def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until a message arrives. Returns true if the job has ended since the last call."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        ended, self._ended = self._ended, False
        return ended

    def take_preview(self) -> bytes | None:
        """Return the newest preview that has not been taken, or None."""
        preview, self._preview = self._preview, None
        return preview

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    async def _listen(self) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidURI, WebSocketException

        class Connect(connect):
            """A connection that follows no redirects, because a redirect would send the headers to another server."""

            def process_redirect(self, exc: Exception) -> Exception | str:
                return exc

        try:
            async with Connect(
                self._url,
                additional_headers=self._headers,
                proxy=None,
                compression=None,
                ssl=tls_context() if self._url.startswith("wss:") else None,
                open_timeout=_CONNECT_TIMEOUT_S,
                close_timeout=0.1,
                ping_interval=None,  # a busy server may respond late
                max_size=_MAX_MESSAGE_BYTES,
                user_agent_header=None,
            ) as socket:
                self.connected = True
                async for message in socket:
                    before = self.progress.share
                    if isinstance(message, bytes):
                        self._read_preview(message)
                    elif self.progress.read(message):
                        self._ended = True
                    if self._ended or self._preview or self.progress.share != before:
                        self._changed.set()
        except (OSError, TimeoutError, WebSocketException, InvalidURI):
            pass
        finally:
            self.connected = False

    def _read_preview(self, message: bytes) -> None:
        """Keep the preview in a binary message if the job needs one at this point of its progress."""
        due_at = (self._received_previews + 1) / (self._previews + 1)
        if self._received_previews >= self._previews or not self.progress.running or self.progress.node_share < due_at:
            return
        if preview := read_preview(message, self._job_id):
            self._preview = preview
            self._received_previews += 1
