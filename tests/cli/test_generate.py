"""The command `framehouse generate`, run as a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.command_line import FRAMEHOUSE, client, environment, run, run_json, serve
from tests.support.data_folder import prepare
from tests.support.image_files import image_file
from tests.support.served_deployment import config

PROMPT = "Create a three-frame product storyboard"


def image_sizes(folder: Path) -> list[tuple[int, int]]:
    """The sizes of the images in the folder, without contact sheets."""
    sizes = []
    for path in sorted(folder.glob("*.png")):
        if "contact-sheet" not in path.name:
            with Image.open(path) as image:
                sizes.append(image.size)
    return sizes


def test_generate_needs_no_running_server(tmp_path: Path) -> None:
    done = run("generate", PROMPT, "--series", "--out", tmp_path / "out", "--data-dir", tmp_path / "data")
    assert image_sizes(tmp_path / "out") == [(1280, 720)] * 3
    assert len(list((tmp_path / "out").glob("*contact-sheet.png"))) == 1
    assert "3/3 images" in done.stderr
    for line in done.stdout.splitlines():
        assert Path(line.split()[0]).exists()
    result = run_json(
        "generate",
        PROMPT,
        "--series",
        "2",
        "--out",
        tmp_path / "out",
        "--data-dir",
        tmp_path / "data",
        "--watermark",
        "--aspect",
        "9:16",
        "--resolution",
        "2K",
        "--seed",
        "5",
    )
    assert len(result["images"]) == 2
    assert all(Path(image["watermark_file"]).exists() for image in result["images"])
    assert image_sizes(tmp_path / "out").count((1440, 2560)) == 4
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


def image_pixels(result: dict[str, Any]) -> list[bytes]:
    """The pixels of each image in the output of a command."""
    pixels = []
    for generated in result["images"]:
        with Image.open(generated["file"]) as image:
            pixels.append(image.tobytes())
    return pixels


def test_two_commands_with_the_same_seed_run_at_the_same_time_and_give_the_same_pixels(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    (tmp_path / "ref.png").write_bytes(image_file(900, 600))
    command = [*FRAMEHOUSE, "generate", "the bag of <<<image_1>>>", "--image", str(tmp_path / "ref.png"), "-n", "3"]
    command += ["--seed", "5", "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path / "data"), "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) for _ in range(2)]
    results = [json.loads(process.communicate(timeout=180)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert results[0]["task_id"] != results[1]["task_id"]
    assert image_sizes(tmp_path / "out") == [(1248, 832)] * 6
    assert image_pixels(results[0]) == image_pixels(results[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_task_and_stops_the_database(tmp_path: Path, number: signal.Signals) -> None:
    prepare(tmp_path / "data")
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=600)
    command = [*FRAMEHOUSE, "generate", "a fox", "--config", str(path), "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, env=environment()
    )
    end = time.monotonic() + 90
    while not notes.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 130, errors
    assert "canceling" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
    (task,) = run_json("task", "list", "--data-dir", tmp_path / "data")
    assert (task["status"], task["status_message"]) == ("failed", "Canceled")
    assert run_json("account", "show", "default", "--data-dir", tmp_path / "data")["images_in_flight"] == 0


_MAIN_WITH_MARKER = """
import os, sys
from pathlib import Path
from framehouse.cli import main
marker = Path(sys.argv.pop(1))
try:
    marker.touch()
    main()
except KeyboardInterrupt:
    os._exit(130)
"""
"""The command line, which creates a marker file before it starts. Before that, a signal would interrupt Python's own
start, which prints a traceback."""


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6, 0.9, 1.2])
def test_ctrl_c_at_any_time_cancels_the_task_without_a_traceback(tmp_path: Path, after_s: float) -> None:
    marker = tmp_path / "marker"
    command = [
        sys.executable,
        "-c",
        _MAIN_WITH_MARKER,
        str(marker),
        "generate",
        "a fox",
        "-n",
        "9",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, env=environment()
    )
    while not marker.exists():
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(after_s)
    end = time.monotonic() + 90
    while process.poll() is None:  # many signals, so that some of them arrive while the command is exiting
        assert time.monotonic() < end
        process.send_signal(signal.SIGINT)
        time.sleep(0.003)
    _, errors = process.communicate()
    assert process.returncode in (130, 0), errors
    assert "Traceback" not in errors
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()
    if (tmp_path / "data" / "postgres").exists():
        run("account", "create", "probe", "--data-dir", tmp_path / "data")
        accounts = run_json("account", "list", "--data-dir", tmp_path / "data")
        assert all(account["images_in_flight"] == 0 for account in accounts)


def test_the_next_command_cancels_the_task_of_a_killed_command(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    notes = tmp_path / "notes"
    path = config(tmp_path, notes, seconds=60)
    command = [*FRAMEHOUSE, "generate", "a fox", "-n", "9", "--config", str(path), "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.DEVNULL, env=environment()
    ) as process:
        end = time.monotonic() + 90
        while not notes.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        process.kill()
    assert run_json("account", "show", "default", "--data-dir", tmp_path / "data")["images_in_flight"] == 9
    time.sleep(2)  # a command may reconnect within two seconds before its tasks count as abandoned
    run("generate", "a hare", "--out", tmp_path / "out", "--data-dir", tmp_path / "data")
    assert run_json("account", "show", "default", "--data-dir", tmp_path / "data")["images_in_flight"] == 0


def test_generate_can_use_a_server(tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        result = run_json(
            "generate",
            PROMPT,
            "--series",
            "--watermark",
            "--out",
            tmp_path / "out",
            "--server",
            server.url,
            "--key",
            server.key,
        )
        assert image_sizes(tmp_path / "out") == [(1280, 720)] * 6
        assert result["units"] == "24"
        failure = run_json(
            "generate",
            "a",
            "--model",
            "none",
            "--out",
            tmp_path / "out",
            "--server",
            server.url + "/kling/",
            "--key",
            server.key,
            code=1,
        )
        assert failure["error"]["code"] == 1203
        failure = run_json("generate", "a", "--server", server.url, "--key", "fh_wrong", code=1)
        assert failure["error"]["code"] == 1002
        result = run_json("generate", "a fox", "--out", tmp_path / "out", "--data-dir", tmp_path / "data")
        assert result["status"] == "succeed", "a command without --server fails while a server uses the data folder"
        with client(server.url, server.key) as http:
            end = time.monotonic() + 60
            while http.get("/readyz").status_code != 200:  # a busy machine may need longer than the limit of the check
                assert time.monotonic() < end
                time.sleep(0.1)


KINDS: dict[str, tuple[list[str], list[tuple[int, int]]]] = {
    "generations": (["a quiet street", "--negative-prompt", "cars", "-n", "2"], [(1280, 720)] * 2),
    "multi-image2image": (["--subject", "A", "--subject", "B", "--scene", "A", "--aspect", "1:1"], [(1024, 1024)]),
    "expand": (["--image", "A", "--expand", "left=0.5, up=.25"], [(1350, 750)]),
    "try-on": (["--human", "A", "--cloth", "B"], []),
}
"""For each kind: the options, with the names A and B of two image files, and the sizes of the images."""


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize("kind", KINDS)
def test_the_options_select_the_kind_of_request(shared_data: Path, tmp_path: Path, kind: str) -> None:
    for name in "AB":
        (tmp_path / name).write_bytes(image_file(900, 600))
    options, sizes = KINDS[kind]
    words = [str(tmp_path / word) if word in "AB" else word for word in options]
    result = run_json("generate", *words, "--out", tmp_path / "out", "--data-dir", shared_data)
    assert result["status"] == "succeed"
    assert image_sizes(tmp_path / "out") == sizes or not sizes
    task = run_json("task", "show", result["task_id"], "--data-dir", shared_data)
    assert (task["kind"], task["images_done"]) == (kind, max(1, len(sizes)))
    listed = run("task", "list", "--data-dir", shared_data).stdout
    assert kind in next(line for line in listed.splitlines() if result["task_id"] in line)


def test_a_server_receives_each_kind_of_request_at_its_endpoint(tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / name).write_bytes(image_file(900, 600))
    with serve(tmp_path / "data") as server:
        for options, _ in KINDS.values():
            words = [str(tmp_path / word) if word in "AB" else word for word in options]
            run("generate", *words, "--out", tmp_path / "out", "--server", server.url, "--key", server.key)
        with client(server.url, server.key) as http:
            tasks = http.get("/v1/tasks?include=request").json()["data"]
        models = ["kolors-virtual-try-on-v1", "kling-expand", "kling-v2-1", "kling-v3"]
        assert [task["kind"] for task in tasks] == list(KINDS)[::-1]
        assert [task["request"]["model_name"] for task in tasks] == models, "each endpoint has its own default model"


@pytest.mark.xdist_group("shared_data")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["generate"], 2, "Missing argument"),
        (["generate", "--negative-prompt", "x"], 2, "Missing argument"),
        (["generate", "x", "--expand", "up=1", "--style", "a"], 2, "--style and --expand cannot be used together"),
        (["generate", "x", "--human", "a", "--cloth", "b"], 2, "PROMPT cannot be used together with --human"),
        (["generate", "x", "--negative-prompt", "y", "--series"], 2, "--series cannot be used together with --neg"),
        (["generate", "--subject", "a", "--image", "a"], 2, "--image cannot be used together with --subject"),
        (["generate", "--style", "a"], 2, "--style requires --subject"),
        (["generate", "--expand", "up=1"], 2, "--expand requires exactly one --image, not 0"),
        (["generate", "--cloth", "a"], 2, "--human and --cloth must be used together"),
        (["generate", "--image", "https://a.b/c", "--expand", "up=1,up=2"], 2, "contains the side up twice"),
        (["generate", "--image", "https://a.b/c", "--expand", "up=\u0662"], 2, "must contain sides and ratios"),
        (["generate", "--image", "https://a.b/c", "--expand", "top=1"], 2, "the sides are up, down, left, right"),
        (["generate", "--image", "https://a.b/c", "--expand", "up=0"], 1, "must be greater than 0"),
        (["generate", "x", "-n", "12"], 2, "1<=x<=9"),
        (["generate", "x", "--series", "12"], 2, "2 to 9"),
        (["generate", "x", "--series", "-n", "2"], 2, "not both"),
        (["generate", "x", "--server", "http://127.0.0.1:1"], 2, "--key"),
        (["generate", "x", "--server", "http://127.0.0.1:1", "--key", "k"], 1, "Cannot reach"),
        (["generate", "x", "--image", "/no/such.png"], 1, "Cannot read the image /no/such.png"),
        (["generate", "x", "--aspect", "5:4"], 1, "aspect_ratio must be one of"),
        (["generate", "<<<image_1>>>"], 1, "cites <<<image_1>>>"),
        (["generate", "x", "--element", "5"], 1, "element_list[0].element_id 5"),
        (["generate", "x", "--config", "/no/such.toml"], 1, "The file /no/such.toml does not exist"),
        (["nonsense"], 2, "No such command"),
        (["generate", "x", "--server", "http://127.0.0.1:1", "--key", "é"], 2, "not allowed in an API key"),
    ],
)
def test_an_error_message_gives_advice(
    shared_data: Path, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    out = [] if words[0] != "generate" or len(words) < 2 else ["--out", str(tmp_path / "out")]
    done = run(*words, *out, code=code, FRAMEHOUSE_DATA_DIR=str(shared_data))
    assert message in done.stderr
    output = json.loads(run(*words, *out, "--json", code=code, FRAMEHOUSE_DATA_DIR=str(shared_data)).stdout)
    assert message in output["error"]["message"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_the_error_names_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Cannot write" in run("generate", "x", "--out", tmp_path / "out", code=1).stderr


_INTERRUPTED_CALLBACK = """
import _thread, sys, time

start = _thread.start_new_thread

def start_slowly(*arguments):  # as on a busy machine
    started = start(*arguments)
    time.sleep(float(sys.argv[1]))
    return started

_thread.start_new_thread = start_slowly

import signal, weakref
from framehouse.cli import commands, main

class Thing: ...

def run():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))  # Python cannot raise here
    del thing
    time.sleep(10)
    sys.exit("the Ctrl-C was lost")

commands.run = run
main()
"""


@pytest.mark.parametrize("start_s", [0.0, 0.3])
def test_ctrl_c_in_a_weakref_callback_is_not_lost_and_prints_no_traceback(start_s: float) -> None:
    command = [sys.executable, "-c", _INTERRUPTED_CALLBACK, str(start_s)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "")
