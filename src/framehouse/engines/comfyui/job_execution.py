"""The steps of a job: save its record, place it, wait for its end, and fetch its image."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from framehouse.domain.errors import Broken
from framehouse.engines.comfyui.comfyui_api import ComfyUIApi
from framehouse.engines.comfyui.job_answers import JobFailed, JobSucceeded, OutputFile
from framehouse.engines.comfyui.progress_socket import ProgressSocket
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown
from framehouse.engines.image_files import ImageFile, read_answer
from framehouse.engines.interface import OpenOrder, Progress
from framehouse.engines.replicas import Replica

log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _PAUSE_GROWTH = 0.1, 1.5
_LONGEST_PAUSE_S, _LONGEST_PAUSE_WITH_SOCKET_S = 1.0, 5.0
_LOST_AFTER_S = 2.0
"""A job is lost if the server does not have it, and still does not have it after this time. The server may need a
moment to accept a job whose response was lost."""
_MAX_OUTAGE_S = 60.0
"""The maximum time during which all queries for a job may fail."""
_FETCH_PAUSES_S = (0.5, 2.0)


class JobLost(Exception):
    """Raised when a job can no longer succeed. It may be placed again, because a job costs nothing.

    `reason` continues a sentence that begins with the name of the server. If `unhealthy` is true, the server must not
    be used for a while. If `permanent` is true, the same server would fail again.
    """

    def __init__(self, reason: str, *, unhealthy: bool = False, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unhealthy = unhealthy
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class SavedJob:
    """The record of a job: the URL of its server, its id, and the index of its shot."""

    server: str
    job_id: str
    shot: int

    def as_data(self) -> dict[str, Any]:
        return {"server": self.server, "job": self.job_id, "shot": self.shot}


def job_from_data(data: Mapping[str, Any]) -> SavedJob | None:
    """Return the job in the data of an open order, or None if there is no job."""
    server, job_id, shot = data.get("server"), data.get("job"), data.get("shot")
    if isinstance(server, str) and isinstance(job_id, str) and isinstance(shot, int):
        return SavedJob(server, job_id, shot)
    return None


class JobExecution:
    """The execution of one job on one server. `previews` is the maximum number of previews of the unfinished image."""

    def __init__(
        self, api: ComfyUIApi, replica: Replica, open_order: OpenOrder, *, timeout_s: float, previews: int
    ) -> None:
        self._api = api
        self._replica = replica
        self._open_order = open_order
        self._timeout_s = timeout_s
        self._previews = previews
        self._placing: asyncio.Task[str] | None = None
        self._job: SavedJob | None = None
        self._socket: ProgressSocket | None = None

    def resume(self, job: SavedJob, node_count: int) -> None:
        """Continue a job that an earlier call placed."""
        self._job = job
        self._connect(job.job_id, node_count)

    async def place(self, nodes: Mapping[str, Any], shot: int) -> None:
        """Save the record of a job, and then place the job.

        If the response is lost, the method returns, because `watch` finds out whether the server has the job. Raises
        NotAccepted, Broken and BatchLost.
        """
        self._job = SavedJob(self._replica.url, str(uuid4()), shot)
        await self._open_order.save(self._job.as_data())
        self._connect(self._job.job_id, len(nodes))
        self._placing = asyncio.create_task(self._api.place(self._replica.url, nodes, self._job.job_id))
        try:
            job_id = await asyncio.shield(self._placing)
        except OutcomeUnknown as error:
            log.warning("job %s: the server %s", self._job.job_id, error.reason)
            return
        if job_id != self._job.job_id:  # an old version of ComfyUI chooses the id itself
            self._job = SavedJob(self._replica.url, job_id, shot)
            await self._open_order.save(self._job.as_data())

    async def watch(self) -> AsyncGenerator[Progress, None]:
        """Yield the progress of the job and its previews until it has an image. Raises JobLost and Broken."""
        assert self._job is not None
        assert self._socket is not None
        pause_s, missing_since = _FIRST_PAUSE_S, 0.0
        last_answer = began = time.monotonic()
        while True:
            try:
                found = await self._api.find(self._replica.url, self._job.job_id)
                last_answer = now = time.monotonic()
            except (NotAccepted, OutcomeUnknown) as error:
                found, now = True, time.monotonic()
                if now - last_answer > _MAX_OUTAGE_S:
                    raise JobLost(error.reason, unhealthy=True) from error
            match found:
                case JobSucceeded(files):
                    self._file = _single_file(files)
                    return
                case JobFailed(message, "error"):
                    raise Broken(f"the ComfyUI server {message}")
                case JobFailed(message):
                    raise JobLost(message, permanent=True)
                case False if missing_since and now - missing_since > _LOST_AFTER_S:
                    raise JobLost("no longer has the job")
                case False:
                    missing_since = missing_since or now
                case _:
                    missing_since = 0.0
            if now - began > self._timeout_s:
                with suppress(NotAccepted, OutcomeUnknown, Broken):
                    await self._api.cancel(self._replica.url, self._job.job_id)
                raise JobLost(f"did not finish the job within {self._timeout_s:g} s", unhealthy=True)
            end = now + min(pause_s, max(0.01, began + self._timeout_s - now))
            ended = False
            while not ended and (remaining_s := end - time.monotonic()) > 0:
                ended = await self._socket.wait(remaining_s)
                yield Progress(self._socket.progress.share, self._socket.take_preview(), self._job.shot)
            longest_s = _LONGEST_PAUSE_WITH_SOCKET_S if self._socket.connected else _LONGEST_PAUSE_S
            pause_s = _FIRST_PAUSE_S if ended else min(longest_s, pause_s * _PAUSE_GROWTH)

    async def fetch(self) -> NDArray[np.uint8] | ImageFile:
        """Fetch the image of the finished job. Raises JobLost and Broken."""
        pauses = list(_FETCH_PAUSES_S)
        while True:
            try:
                content = await self._api.fetch(self._replica.url, self._file)
                break
            except (NotAccepted, OutcomeUnknown) as error:
                if not pauses:
                    raise JobLost(error.reason, unhealthy=True) from error
            await asyncio.sleep(pauses.pop(0))
        if content is None:
            raise JobLost("no longer has the image", permanent=True)
        return await asyncio.to_thread(read_answer, content)

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def cancel_if_unwanted(self) -> None:
        """Cancel the job at the server, unless a worker may still continue it.

        If the job is still being placed, the method first waits until the server has it.
        """
        if self._job is None:
            return
        with suppress(NotAccepted, OutcomeUnknown, Broken):
            if self._placing is not None:
                await self._placing
        if await self._open_order.is_wanted():
            return
        with suppress(NotAccepted, OutcomeUnknown, Broken):
            await self._api.cancel(self._replica.url, self._job.job_id)

    def _connect(self, job_id: str, node_count: int) -> None:
        self._socket = ProgressSocket(self._replica.url, job_id, self._api.headers, node_count, previews=self._previews)
        self._socket.start()


def _single_file(files: tuple[OutputFile, ...]) -> OutputFile:
    if not files:
        raise Broken(
            "the ComfyUI server generated no image; the workflow must contain a SaveImage or a PreviewImage node"
        )
    if len(files) > 1:
        raise Broken(
            f"the ComfyUI server generated {len(files)} images instead of one; "
            "set batch_size to 1, and leave only one SaveImage node in the workflow"
        )
    return files[0]
