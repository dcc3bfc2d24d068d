"""Check untrusted images, and read their claims, in separate processes, which have limits on time and memory."""

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

from framehouse.adapters.account_slots import AccountSlots
from framehouse.adapters.images.decoder_requests import CHECK, HEADER, READ_CLAIMS
from framehouse.adapters.reference_files.file_types import accepted_types
from framehouse.adapters.reference_files.header import BadImage
from framehouse.domain.verification import FileClaims

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
        width, height = (await self._response(CHECK, content, account_id))["size"]
        return width, height

    async def read_claims(self, content: bytes, anchors: bytes, *, account_id: int = 0) -> FileClaims:
        """Read the claims of an image (see `file_claims.read_claims`), with the same limits as `check`."""
        from pydantic import TypeAdapter  # imported here, because workers do not read claims

        claims = (await self._response(READ_CLAIMS, content, account_id, anchors))["claims"]
        return TypeAdapter(FileClaims).validate_python(claims)

    async def close(self) -> None:
        while self._idle:
            await _kill(self._idle.pop())

    async def _response(self, action: bytes, content: bytes, account_id: int, anchors: bytes = b"") -> dict[str, Any]:
        """Return the response of a decoder process. Raises BadImage."""
        async with self._slots.slot(account_id):
            for _ in range(2):  # a second attempt, because the system may kill a process, for example if memory is low
                if response := await self._send(action, content, anchors):
                    break
            else:
                raise BadImage(_OVER_LIMITS)
        if "bad" in response:
            raise BadImage(response["bad"])
        return response

    async def _send(self, action: bytes, content: bytes, anchors: bytes) -> dict[str, Any] | None:
        """Send an image to a decoder process and return the response. Returns None if the process died.

        Raises BadImage if the process exceeded a time limit.
        """
        process = self._idle.pop() if self._idle else await _start()
        responded = False
        try:
            assert process.stdin
            assert process.stdout
            async with asyncio.timeout(self._wall_s):
                process.stdin.write(HEADER.pack(action, len(anchors), len(content)))
                process.stdin.write(anchors)
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
