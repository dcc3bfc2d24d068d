"""Processes with limits on time and memory, in which pictures of strangers are decoded before anybody else does it."""

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

from framehouse.adapters.images.decode import CPU_S
from framehouse.adapters.images.header import BadImage

log = logging.getLogger(__name__)
_WALL_S = CPU_S + 10.0
_TOO_MUCH = "cannot be decoded within the limits on time and memory"
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
"""No more of the environment than Python may need: secrets are no business of a decoder."""


class ImageChecker:
    """A few warm processes, started when they are needed. One that a picture kills is replaced."""

    def __init__(self, *, at_once: int = 2, wall_s: float = _WALL_S) -> None:
        self._room = asyncio.Semaphore(at_once)
        self._wall_s = wall_s
        self._idle: list[Process] = []

    async def check(self, content: bytes) -> tuple[int, int]:
        """Width and height in pixels, upright, of a picture that meets every rule and can be decoded to the end.
        Raises BadImage; never takes much longer than the limit, and whatever the file does, it does to nobody else."""
        async with self._room:
            for _ in range(2):  # once more: the process may have died of something else, as of a system short of memory
                if answer := await self._ask(content):
                    break
            else:
                raise BadImage(_TOO_MUCH)
        if "bad" in answer:
            raise BadImage(answer["bad"])
        width, height = answer["size"]
        return width, height

    async def close(self) -> None:
        while self._idle:
            await _end(self._idle.pop())

    async def _ask(self, content: bytes) -> dict[str, Any] | None:
        """The process's answer, or None where it died of the question. Raises BadImage where it took too long."""
        process = self._idle.pop() if self._idle else await _start()
        answered = False
        try:
            assert process.stdin
            assert process.stdout
            async with asyncio.timeout(self._wall_s):
                process.stdin.write(struct.pack(">I", len(content)))
                process.stdin.write(content)
                await process.stdin.drain()
                answer: dict[str, Any] = json.loads(await process.stdout.readline())
            answered = True
        except TimeoutError:
            raise BadImage(_TOO_MUCH) from None
        except (OSError, ValueError) as error:
            log.warning("the process that checks pictures died and is replaced: %r", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await process.wait()
            if process.returncode == -signal.SIGXCPU:
                raise BadImage(_TOO_MUCH) from None
            return None
        finally:
            if answered:
                self._idle.append(process)
            else:
                await _end(process)
        return answer


async def _start() -> Process:
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    program = ("-m", "framehouse.adapters.images.decode")
    return await asyncio.create_subprocess_exec(sys.executable, *program, stdin=PIPE, stdout=PIPE, env=environment)


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    if process.stdin:
        process.stdin.close()
    await process.wait()
