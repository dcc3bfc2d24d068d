"""`framehouse comfyui check` reports what a server lacks, before the first task."""

import asyncio
from pathlib import Path

from tests.support.comfyui_server import WORKFLOWS, comfyui
from tests.support.command_line import run, run_json
from tests.support.sockets import free_port


async def test_a_workflow_is_checked_on_servers() -> None:
    async with comfyui() as good, comfyui(missing_files={"sd_xl_base_1.0.safetensors"}) as bad:
        done = await asyncio.to_thread(run, "comfyui", "check", WORKFLOWS["workflow"], "--server", good.url)
        assert "can be the option workflow. It has 7 nodes" in done.stdout
        assert f"{good.url}: the server has all nodes and models." in done.stdout
        servers = ["--server", good.url, "--server", bad.url]
        done = await asyncio.to_thread(run, "comfyui", "check", WORKFLOWS["workflow"], *servers, code=1)
        assert '- node 1 (CheckpointLoaderSimple): ckpt_name "sd_xl_base_1.0.safetensors" is not on' in done.stdout
        assert good.jobs() == bad.jobs() == []


async def test_each_workflow_of_the_docs_is_recognized() -> None:
    async with comfyui(key="k") as server:
        header = ["--header", "Authorization: Bearer k"]
        for option, path in WORKFLOWS.items():
            answer = await asyncio.to_thread(run_json, "comfyui", "check", path, "--server", server.url, *header)
            assert answer == {"option": option, "servers": [{"server": server.url, "problems": []}]}


def test_errors_are_reported_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "editor.json").write_text('{"nodes": [], "links": []}')
    done = run("comfyui", "check", tmp_path / "editor.json", code=1)
    assert "is a workflow in the format of the editor; in ComfyUI, export" in done.stderr
    assert "cannot be read: No such file" in run("comfyui", "check", tmp_path / "none.json", code=1).stderr
    down = f"http://127.0.0.1:{free_port()}"
    done = run("comfyui", "check", WORKFLOWS["workflow"], "--server", down, code=1)
    assert "the server cannot be reached" in done.stdout
