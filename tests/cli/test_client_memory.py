"""The memory of the API process, measured in a real process."""

import json
import re
import secrets
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from tests.support.command_line import PATH, client, serve
from tests.support.image_files import image_file


def memory_mb(pid: int, field: str) -> float:
    match = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) / 1000


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs /proc/PID/clear_refs")
def test_large_bodies_do_not_grow_the_api_process(tmp_path: Path) -> None:
    images = [image_file() + secrets.token_bytes(9_990_000) for _ in range(4)]
    fields = {"model_name": "kling-v3-omni", "prompt": "x", "unknown": "x" * 20_000_000}
    large = json.dumps(fields | {"image_list": [{"image": b64encode(image).decode()} for image in images]})
    small = json.dumps(fields | {"unknown": "", "image_list": [{"image": b64encode(image_file()).decode()}]})
    with serve(tmp_path / "data") as server, client(server.url, server.key) as alice:
        listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
        api = re.search(rf"^\s*(\d+)\s+{server.process.pid}\s.*\bapi\b", listed, re.MULTILINE)
        assert api, listed
        pid = int(api[1])
        for content in (small, large):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak to the current memory
            before = memory_mb(pid, "VmRSS")
            answer = alice.post(PATH, content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 200, answer.text
        assert memory_mb(pid, "VmHWM") - before < 16
