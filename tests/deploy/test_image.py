"""The wheel runs under the conditions of the container image, without a container engine.

The conditions are: the image's user, no capabilities, an empty environment, and a mount namespace in which only the
data folder and /tmp are writable.
"""

import base64
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.command_line import PATH, client
from tests.support.image_files import image_file

ROOT = Path(__file__).parents[2]
UID = 10001
TMP = Path("/tmp")
DATA, CODE = Path("/media/data"), Path("/media/code")
"""The paths of the data folder and of the unpacked wheel in the namespace. Its /media contains little else."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the unpacked wheels of `make dist`. The build fails if a file is missing or unexpected."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "dist.py", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for built in folder.glob("*.whl"):
        with zipfile.ZipFile(built) as archive:
            archive.extractall(folder / "code")
    (folder / "code").chmod(0o755)
    return folder / "code"


def topmost_closed_parent(folder: Path) -> Path | None:
    """The topmost parent folder that other users may not enter, such as root's home; None if there is none."""
    return next((p for p in reversed(folder.parents) if not p.stat().st_mode & 0o001), None)


def namespace_script(data: Path, code: Path, passwd: Path) -> str:
    """A shell script that prepares the mount namespace that the module's docstring describes."""
    lines = ["mount -t tmpfs tmpfs /media", f"mkdir {DATA} {CODE}"]
    pythons = {Path(p) for p in (sys.base_prefix, sys.prefix)}
    for index, prefix in enumerate(pythons):
        lines += [f"mkdir /media/{index}", f"mount --rbind {prefix} /media/{index}"]
    lines += [f"mount --bind {data} {DATA}", f"mount --bind {code} {CODE}", f"mount --bind {passwd} /etc/passwd"]
    lines.append("mount -t tmpfs -o mode=1777,size=256m,noexec,nosuid,nodev tmpfs /tmp")
    for folder in {f for f in map(topmost_closed_parent, pythons) if f and TMP not in f.parents}:
        lines.append(f"mount -t tmpfs -o mode=0755 tmpfs {folder}")
    for index, prefix in enumerate(pythons):
        if topmost_closed_parent(prefix) or TMP in prefix.parents:  # the mounts above hide this prefix
            lines += [f"mkdir -p {prefix}", f"mount --rbind /media/{index} {prefix}"]
    lines.append(
        f'awk \'$5 != "{DATA}" && $5 != "{TMP}" && $5 !~ "^/proc" {{ print $5 }}\' /proc/self/mountinfo |'
        ' while read -r path; do mount -o remount,bind,ro "$path" || echo "$path is hidden by another mount" >&2; done'
    )
    return "\n".join(lines)


def in_image(data: Path, code: Path, *words: str) -> list[str]:
    """A command line that runs Python with these arguments under the conditions of the image."""
    passwd = data.parent / "passwd"
    passwd.write_text(f"root:x:0:0::/:/bin/sh\nframehouse:x:{UID}:{UID}::{DATA}:/usr/sbin/nologin\n")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CODE), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"FRAMEHOUSE_DATA_DIR": str(DATA), "FRAMEHOUSE_HOST": "127.0.0.1"}
    command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
    command += ["--inh-caps=-all", "--bounding-set=-all"]
    command += ["env", "-i", *(f"{name}={value}" for name, value in environment.items()), sys.executable, *words]
    script = f"{namespace_script(data, code, passwd)}\ncd {DATA}\nexec {shlex.join(command)}"
    return ["unshare", "--mount", "sh", "-euc", script]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The volume for the image's data folder. If namespaces cannot be created, the test is skipped; in CI it fails."""
    if sys.platform != "linux" or os.getuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        message = "this needs Linux, root and util-linux"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    os.chown(folder, UID, UID)
    return folder


@contextmanager
def serving(data: Path, code: Path) -> Iterator[tuple[str, str | None]]:
    """Run `framehouse serve` in the namespace. Yields its URL and its new key, and checks that it stops with code 0."""
    with (data.parent / "log").open("wb") as log:
        words = ("-m", "framehouse", "serve", "--port", "0", "--json")
        process = subprocess.Popen(in_image(data, code, *words), stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, (data.parent / "log").read_text()
        ready = json.loads(line)
        yield ready["url"], ready["key"]
        process.terminate()
        assert process.wait(timeout=60) == 0, (data.parent / "log").read_text()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)
        assert process.stdout
        process.stdout.close()


def test_the_server_runs_if_only_the_data_folder_and_tmp_are_writable(wheel: Path, data: Path) -> None:
    code = "from pathlib import Path; import framehouse; print(framehouse.__file__); Path('/var/tmp/x').touch()"
    done = subprocess.run(in_image(data, wheel, "-c", code), capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"{CODE}/framehouse/"), done.stderr
    assert "Read-only file system" in done.stderr

    noise = random.Random(7).randbytes(2_000_000)  # a large body is written to /tmp
    large = base64.b64encode(image_file(800, 600) + noise).decode()
    body = {"model_name": "kling-v3-omni", "prompt": "<<<image_1>>> on a beach", "image_list": [{"image": large}]}
    with serving(data, wheel) as (url, key), client(url, key or "") as caller:
        task = caller.post(PATH, json=body).json()["data"]["task_id"]
        ended = caller.get(f"{PATH}/{task}", params={"wait": 60}).json()["data"]
        assert ended["task_status"] == "succeed", ended
        image = caller.get(ended["task_result"]["images"][0]["url"])
        assert image.content.startswith(b"\x89PNG")
    with (
        serving(data, wheel) as (url, second_key),
        client(url, key or "") as caller,
    ):  # a new container, the same volume
        assert second_key is None
        assert caller.get(f"{PATH}/{task}").json()["data"]["task_status"] == "succeed"
    assert {path.stat().st_uid for path in data.rglob("*")} == {UID}
