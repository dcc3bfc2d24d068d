"""The watchdog sends heartbeats while the event loop runs, and exits the process if the event loop hangs."""

import asyncio
import os
import subprocess
import sys

from framehouse.runtime.watchdog import watchdog

_HANG = """
import asyncio, time
from framehouse.runtime.watchdog import watchdog

async def hang_here():
    async with watchdog(None, hung_after_s=2):
        await asyncio.sleep(0)
        time.sleep(60)

asyncio.run(hang_here())
"""


async def test_heartbeats_are_sent_to_the_pipe() -> None:
    read_end, write_end = os.pipe()
    try:
        async with watchdog(write_end, hung_after_s=60):
            assert await asyncio.to_thread(os.read, read_end, 1) == b"."
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_hung_process_prints_where_it_hangs_and_exits() -> None:
    done = subprocess.run([sys.executable, "-c", _HANG], stderr=subprocess.PIPE, text=True, timeout=50, check=False)
    assert done.returncode == 1
    assert "in hang_here" in done.stderr
