"""`framehouse mcp` as a process, with a server that runs in the process of the test or does not exist."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api_server import Api
from tests.support.command_line import FRAMEHOUSE, environment, run
from tests.support.image_files import image_file
from tests.support.mcp_clients import LEGACY, MODERN, images_of, key_of, stdio_client_of, text_of
from tests.support.sockets import free_port

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_tools_work_with_local_files(working: Api, tmp_path: Path, mode: str) -> None:
    (tmp_path / "fox.png").write_bytes(image_file(600, 400))
    async with stdio_client_of(working.url, key_of(working.alice), mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert "path of a local file" in str(tools["create_images"].description)
        call = {"prompt": "<<<image_1>>> in the snow", "images": [str(tmp_path / "fox.png")]}
        result = await client.call_tool("create_images", call)
        assert len(images_of(result)) == 1, text_of(result)
        missing = await client.call_tool("create_images", call | {"images": [str(tmp_path / "cat.png")]})
        assert "not an existing file" in text_of(missing)
        resources = await client.list_resources(cursor="presets")
        assert len(resources.resources) > 3


async def test_a_wrong_key_is_a_tool_error(api: Api) -> None:
    async with stdio_client_of(api.url, "fh_wrong") as client:
        result = await client.call_tool("create_images", {"prompt": "a fox"})
    assert result.is_error
    assert "Ask the user to check the API key" in text_of(result)


async def test_an_unreachable_server_is_a_tool_error() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with stdio_client_of(url, "fh_key") as client:
        result = await client.call_tool("list_tasks", {})
    assert result.is_error
    assert f"cannot reach {url}" in text_of(result)


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*FRAMEHOUSE, "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(FRAMEHOUSE_URL="http://127.0.0.1:1", FRAMEHOUSE_KEY="fh_key"),
    )


def test_the_process_ends_at_the_end_of_stdin_and_prints_only_messages() -> None:
    process = start()
    messages: list[object] = [INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}, "not a message"]
    lines = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    out, err = process.communicate("\n".join([*lines, ""]).encode(), timeout=120)
    assert process.returncode == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert answers[0]["result"]["serverInfo"]["name"] == "framehouse"
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_at_a_signal(number: signal.Signals) -> None:
    process = start()
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{json.dumps(INITIALIZE)}\n".encode())
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(number)
    assert process.wait(timeout=60) == 0
    out, err = process.communicate()
    assert (out, err) == (b"", b"")


def test_missing_options_are_named() -> None:
    done = run("mcp", code=1)
    assert "--server and --key" in done.stderr
    assert "FRAMEHOUSE_URL and FRAMEHOUSE_KEY" in done.stderr
    assert not done.stdout
    done = run("mcp", code=1, FRAMEHOUSE_URL="127.0.0.1:8000", FRAMEHOUSE_KEY="fh_key")
    assert "must look like" in done.stderr


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(\"No module named 'mcp'\", name='mcp')")
    paths = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = run("mcp", code=1, PYTHONPATH=paths, FRAMEHOUSE_URL="http://127.0.0.1:1", FRAMEHOUSE_KEY="fh_key")
    assert "pip install 'framehouse[mcp]'" in done.stderr


@pytest.mark.parametrize("command", [["generate", "--help"], ["api", "--help"]])
def test_other_commands_do_not_import_the_package(command: list[str]) -> None:
    code = f"import sys; sys.argv[1:] = {command}\ntry:\n import framehouse.cli; framehouse.cli.main()\n"
    code += "finally:\n import framehouse.wiring, framehouse.entrypoints.api.api_app\n"
    code += " print([name for name in sys.modules if name.split('.')[0] in ('mcp', 'mcp_types', 'framehouse_client')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)
    assert done.stdout.splitlines()[-1] == "[]", done
