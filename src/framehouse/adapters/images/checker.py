"""Check untrusted images: decode each image in a separate process, which has limits on time and memory."""

import asyncio
import json
import logging
import os
import signal
import struct
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

from framehouse.adapters.account_slots import AccountSlots
from framehouse.adapters.reference_files.file_types import accepted_types
from framehouse.adapters.reference_files.header import BadImage

log = logging.getLogger(__name__)
_WALL_S = 60.0
"""The time limit for one image, in seconds. It is much longer than the limit on CPU time, because the process has a low
priority on a busy machine."""
_OVER_LIMITS = "cannot be decoded within the limits on time and memory"
PASSED_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
"""The environment variables that a decoder process inherits, because Python may need them. All other variables are
removed, because they may contain secrets."""


class ImageChecker:
    """A pool of decoder processes. It starts processes on demand, reuses them, and replaces processes that die.

    The accounts whose images wait for a process take turns.
    """

    def __init__(self, *, processes: int = 2, wall_s: float = _WALL_S) -> None:
        self._slots = AccountSlots(processes, per_account=processes)
        self._wall_s = wall_s
        self._idle: list[Process] = []

    async def check(self, content: bytes, *, account_id: int = 0) -> tuple[int, int]:
        """Check an image against all rules and decode it completely.

        Returns the width and height in pixels after the EXIF rotation. Raises BadImage if the image breaks a rule, if
        it cannot be decoded, or if decoding exceeds a limit. If the decoder process dies, the method decodes the image
        once more in another process. Each of the two attempts takes at most `wall_s` seconds. A malicious file can
        affect only the decoder process.
        """
        async with self._slots.slot(account_id):
            for _ in range(2):  # a second attempt, because the system may kill a process, for example if memory is low
                if response := await self._send(content):
                    break
            else:
                raise BadImage(_OVER_LIMITS)
        if "bad" in response:
            raise BadImage(response["bad"])
        width, height = response["size"]
        return width, height

    async def close(self) -> None:
        while self._idle:
            await _kill(self._idle.pop())

    async def _send(self, content: bytes) -> dict[str, Any] | None:
        """Send an image to a decoder process and return the response. Returns None if the process died.

        Raises BadImage if the process exceeded a time limit.
        """
        process = self._idle.pop() if self._idle else await _start()
        responded = False
        try:
            assert process.stdin
            assert process.stdout
            async with asyncio.timeout(self._wall_s):
                process.stdin.write(struct.pack(">I", len(content)))
                process.stdin.write(content)
                await process.stdin.drain()
                response: dict[str, Any] = json.loads(await process.stdout.readline())
            responded = True
        except TimeoutError:
            raise BadImage(_OVER_LIMITS) from None
        except (OSError, ValueError) as error:
            log.warning("an image decoder process died and will be replaced: %s: %s", type(error).__name__, error)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await process.wait()
            if process.returncode == -signal.SIGXCPU:
                raise BadImage(_OVER_LIMITS) from None
            return None
        finally:
            if responded:
                self._idle.append(process)
            else:
                await _kill(process)
        return response


async def _start() -> Process:
    environment = {name: os.environ[name] for name in PASSED_VARIABLES if name in os.environ}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # numpy reserves address space for each of its threads
    program = ("-m", "framehouse.adapters.images.decode", *accepted_types())
    return await asyncio.create_subprocess_exec(sys.executable, *program, stdin=PIPE, stdout=PIPE, env=environment)


async def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    if process.stdin:
        process.stdin.close()
    await process.wait()
