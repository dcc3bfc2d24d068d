"""Send requests to ComfyUI servers.

The methods raise NotAccepted if the request was not sent or was clearly refused, and OutcomeUnknown if the response is
missing or unusable. Both errors have a `reason` that continues a sentence that begins with the name of the server.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from framehouse.domain.errors import Broken
from framehouse.engines.comfyui.job_answers import (
    BadAnswer,
    JobFailed,
    JobSucceeded,
    OutputFile,
    comfyui_version,
    is_in_queue,
    is_running,
    job_end,
    placed_id,
    queue_length,
    refusal,
)
from framehouse.engines.error_replies import KEY_COOLDOWN_S
from framehouse.engines.http_exchange import (
    NotAccepted,
    OutcomeUnknown,
    Reply,
    open_client,
    retry_after_s,
    send_request,
)
from framehouse.engines.image_files import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    import httpx

Parsed = TypeVar("Parsed")
log = logging.getLogger(__name__)
UPLOAD_FOLDER = "framehouse"
"""The folder for references within the input folder of a ComfyUI server."""
_ANSWER_TIMEOUT_S = 30.0
_FILE_TIMEOUT_S = 120.0
_SHORT_TIMEOUT_S = 5.0
_MAX_JSON_BYTES = 64_000_000
"""The maximum size of a JSON response. The response of /queue contains the workflows of all jobs in the queue."""
_TARGETED_INTERRUPT = (0, 4)
"""From this version on, POST /interrupt with a job id certainly interrupts only this job. Older versions interrupt
whichever job is running."""


class ComfyUIApi:
    """The HTTP API of ComfyUI servers. `headers` are sent with each request."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._client: httpx.AsyncClient | None = None

    async def version(self, url: str) -> tuple[int, ...]:
        """Return the version of ComfyUI, or an empty tuple if the server does not report it."""
        return await self._get(url, "/system_stats", comfyui_version, timeout_s=_SHORT_TIMEOUT_S * 2)

    async def queue_length(self, url: str) -> int:
        return await self._get(url, "/prompt", queue_length, timeout_s=_SHORT_TIMEOUT_S)

    async def node_info(self, url: str, class_type: str) -> Mapping[str, Any] | None:
        """Return the description of a class of nodes, or None if the server has no such class."""

        def parse(body: bytes) -> Mapping[str, Any] | None:
            try:
                info = json.loads(body)[class_type]
            except KeyError:
                return None
            except (ValueError, TypeError, RecursionError) as error:
                raise BadAnswer("sent an invalid description of a node") from error
            return info if isinstance(info, dict) else None

        return await self._get(url, f"/object_info/{quote(class_type, safe='')}", parse)

    async def upload(self, url: str, content: bytes) -> str:
        """Upload an image, and return its name for the input of a LoadImage node.

        The name contains a hash of the content, so each file is stored only once on a server.
        """
        ending = "png" if content.startswith(b"\x89PNG") else "jpg"
        name = f"{hashlib.sha256(content).hexdigest()[:40]}.{ending}"
        media = "image/png" if ending == "png" else "image/jpeg"
        reply = await self._send(
            "POST",
            url,
            "/upload/image",
            timeout_s=_FILE_TIMEOUT_S,
            data={"subfolder": UPLOAD_FOLDER, "type": "input"},
            files=[("image", (name, content, media))],
        )
        if reply.status == 413:
            raise Broken("the ComfyUI server refuses a reference of this size; increase --max-upload-size")
        if reply.status == 400:
            raise Broken("the ComfyUI server refuses an uploaded reference (HTTP 400)")
        _check_status(reply)
        try:
            answer = json.loads(reply.body)
            stored, folder = answer["name"], answer.get("subfolder") or ""
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
            raise OutcomeUnknown("sent an invalid response to an upload") from error
        if not isinstance(stored, str) or not isinstance(folder, str):
            raise OutcomeUnknown("sent an invalid response to an upload")
        return f"{folder}/{stored}" if folder else stored

    async def place(self, url: str, nodes: Mapping[str, Any], job_id: str) -> str:
        """Place a job, and return its id. The id is `job_id`, except on old versions of ComfyUI.

        The id of the client is also `job_id`, so that a WebSocket receives only the messages about this job. Raises
        Broken if ComfyUI refuses the workflow.
        """
        body = {"prompt": nodes, "prompt_id": job_id, "client_id": job_id}
        reply = await self._send("POST", url, "/prompt", json=body)
        if reply.status == 400:
            raise Broken(f"the ComfyUI server refuses the workflow: {refusal(reply.body)}")
        _check_status(reply)
        try:
            return placed_id(reply.body)
        except BadAnswer as error:
            raise OutcomeUnknown(str(error)) from error

    async def find(self, url: str, job_id: str) -> "JobSucceeded | JobFailed | bool":
        """Return the result of a job. If there is no result yet, return whether the job is waiting or running.

        The queue is queried first, because ComfyUI moves a finished job from the queue to the history.
        """
        if await self._get(url, "/queue", lambda body: is_in_queue(body, job_id)):
            return True
        return await self._get(url, f"/history/{job_id}", lambda body: job_end(body, job_id)) or False

    async def fetch(self, url: str, file: OutputFile) -> bytes | None:
        """Return the content of an image file, or None if the server does not have the file."""
        query = urlencode({"filename": file.filename, "subfolder": file.subfolder, "type": file.type})
        reply = await self._send("GET", url, f"/view?{query}", timeout_s=_FILE_TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES)
        if reply.status == 404:
            return None
        _check_status(reply)
        return reply.body

    async def cancel(self, url: str, job_id: str) -> None:
        """Remove a job from the queue, or interrupt it if it is running. Other jobs are not affected.

        If the version of ComfyUI is too old to interrupt a certain job, a running job continues.
        """
        _check_status(await self._send("POST", url, "/queue", json={"delete": [job_id]}))
        if not await self._get(url, "/queue", lambda body: is_running(body, job_id)):
            return
        if await self.version(url) < _TARGETED_INTERRUPT:
            log.warning("%s: the version of ComfyUI is too old to interrupt a single job", url)
            return
        await self._send("POST", url, "/interrupt", json={"prompt_id": job_id})

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _get(
        self, url: str, path: str, parse: Callable[[bytes], Parsed], *, timeout_s: float | None = None
    ) -> Parsed:
        """Send a GET request, and return its parsed response."""
        try:
            reply = await self._send("GET", url, path, timeout_s=timeout_s)
        except Broken as error:
            raise OutcomeUnknown("sent a response that is too long") from error
        _check_status(reply)
        try:
            return parse(reply.body)
        except BadAnswer as error:
            raise OutcomeUnknown(str(error)) from error

    async def _send(
        self,
        method: str,
        url: str,
        path: str,
        *,
        timeout_s: float | None = None,
        max_bytes: int | None = None,
        **content: Any,
    ) -> Reply:
        """Send a request. Raises NotAccepted if the status is a clear refusal. Other statuses are returned."""
        if self._client is None:
            self._client = open_client(self.headers)
        reply = await send_request(
            self._client,
            method,
            f"{url}{path}",
            timeout_s=timeout_s or _ANSWER_TIMEOUT_S,
            max_bytes=max_bytes or _MAX_JSON_BYTES,
            **content,
        )
        if reply.status in (401, 402, 403):
            raise NotAccepted(
                f"does not accept the api_key or the headers (HTTP {reply.status})", cooldown_s=KEY_COOLDOWN_S
            )
        if reply.status in (429, 502, 503, 504):
            raise NotAccepted(f"is busy or not ready (HTTP {reply.status})", cooldown_s=retry_after_s(reply.headers))
        if 300 <= reply.status < 400:
            raise NotAccepted("responds with a redirect, which is not followed; set servers to the redirect's target")
        return reply


def _check_status(reply: Reply) -> None:
    if reply.status != 200:
        raise OutcomeUnknown(f"returned HTTP {reply.status}")
