"""Enlarge images with a neural network, in a separate process of low priority."""

import asyncio
import os
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.images.checker import PASSED_VARIABLES
from framehouse.adapters.images.upscale import HEADER, TILE_PX

UPSCALER = "Real-ESRGAN animevideov3"
"""The name of the network in the metadata of images."""
UPSCALER_INSTALLATION = 'pip install "framehouse[upscale]"'
_PROGRAM = ("-m", "framehouse.adapters.images.upscale")
_START_S, _MEGAPIXEL_S = 60.0, 120.0
"""The time limit for an image is the sum of a fixed time and a time per megapixel of the image, in seconds. On two
shared cores, an image needed 12 s of CPU time per megapixel, and up to 66 s passed."""
_TURN_S = 120.0
_IDLE_S = 60.0
_EXIT_S = 1.0
_STOPPING = "the worker is stopping"
_PIPE_BYTES = 1 << 20
_FIXED_VARIABLES = {
    "OMP_WAIT_POLICY": "passive",  # otherwise, threads use CPU time while they wait for each other
    "OPENBLAS_NUM_THREADS": "1",  # numpy reserves address space for each of its threads
}


class UpscalingFailed(Exception):
    """Raised when the network could not enlarge an image. The message is for the log."""


def upscaler_installed() -> bool:
    return find_spec("ncnn") is not None


class ImageUpscaler:
    """A process that enlarges one image at a time.

    The process is started on demand and reused. It is killed if nothing needs it for a minute, and after a failure.
    """

    def __init__(
        self,
        program: Sequence[str] = _PROGRAM,
        *,
        start_s: float = _START_S,
        turn_s: float = _TURN_S,
        idle_s: float = _IDLE_S,
    ) -> None:
        self._program = program
        self._start_s = start_s
        self._turn_s = turn_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def upscale(self, pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
        """Enlarge pixels of shape (height, width, 3) by a factor of 2 or 4. Other images wait until the image is done.

        Raises UpscalingFailed if the process dies, if the time limit is exceeded, or if the upscaler is closed. After a
        failure or a cancellation, the next image starts a new process.
        """
        height, width = pixels.shape[:2]
        limit_s = self._start_s + _MEGAPIXEL_S * width * height / 1e6
        async with self._take_turn():
            if self._idle_timer:
                self._idle_timer.cancel()
            try:
                async with asyncio.timeout(limit_s):
                    enlarged = await self._exchange(pixels, factor)
            except TimeoutError:
                await self._kill()
                raise UpscalingFailed(f"the time limit of {limit_s:.0f} s was exceeded") from None
            except (OSError, asyncio.IncompleteReadError):
                reason = await self._kill()
                raise UpscalingFailed(_STOPPING if self._closed else reason) from None
            except BaseException:
                await self._kill()
                raise
            self._idle_timer = asyncio.get_running_loop().call_later(self._idle_s, self._kill_idle)
            return enlarged

    @asynccontextmanager
    async def _take_turn(self) -> AsyncIterator[None]:
        """Wait until no other image uses the process. Raises UpscalingFailed after `turn_s` seconds.

        Without this limit, paid images would wait unsaved for many minutes behind many other images.
        """
        try:
            async with asyncio.timeout(self._turn_s):
                await self._turn.acquire()
        except TimeoutError:
            raise UpscalingFailed(f"other images have used the process for {self._turn_s:g} s") from None
        try:
            yield
        finally:
            self._turn.release()

    async def close(self) -> None:
        """Kill the process. The current image, the waiting images and all later images fail with UpscalingFailed."""
        self._closed = True
        if self._idle_timer:
            self._idle_timer.cancel()
        if self._process:
            _send_kill(self._process)
        async with self._turn:
            await self._kill()

    async def _exchange(self, pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
        height, width = pixels.shape[:2]
        if self._process and self._process.returncode is not None:  # it died while it was idle
            await self._kill()
        if not self._closed and self._process is None:
            self._process = await self._start()
        if self._closed or self._process is None:
            raise UpscalingFailed(_STOPPING)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        stdin.write(struct.pack(HEADER, width, height, factor))
        stdin.write(np.ascontiguousarray(pixels).data.cast("B"))
        await stdin.drain()
        enlarged = np.empty((height * factor, width * factor, 3), np.uint8)
        for top in range(0, len(enlarged), TILE_PX * factor):
            band = enlarged[top : top + TILE_PX * factor]
            band[:] = np.frombuffer(await stdout.readexactly(band.nbytes), np.uint8).reshape(band.shape)
        return enlarged

    async def _start(self) -> Process:
        environment = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ} | _FIXED_VARIABLES
        return await asyncio.create_subprocess_exec(
            sys.executable, *self._program, stdin=PIPE, stdout=PIPE, env=environment, limit=_PIPE_BYTES
        )

    def _kill_idle(self) -> None:
        process, self._process = self._process, None
        if process:
            _send_kill(process)

    async def _kill(self) -> str:
        """Kill the process, and return how the process exited. The next image starts a new process."""
        process, self._process = self._process, None
        if process is None:
            return "the process could not be started"
        if process.stdout and process.stdout.at_eof():  # the process is about to exit
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXIT_S):
                    await process.wait()
        _send_kill(process)
        if process.stdin:
            process.stdin.close()
        code = await process.wait()
        return (
            f"the process died of {signal.Signals(-code).name}" if code < 0 else f"the process exited with code {code}"
        )


def _send_kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
