"""Test the wheels in clean environments: install them as the Dockerfile does, and generate the README's images.

    python scripts/try_wheel.py FOLDER

`make dist` runs this script. FOLDER contains the wheels of the server and of the Python client. The client is also
installed alone, with nothing but its dependencies, and generates an image on the server. The commands run with few
environment variables and in an empty folder.
"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ("generate", "Create a three-frame product storyboard", "--model", "kling-v3-omni", "--series")
SIZE = (1280, 720)
"""The size of each of the demo's three images."""


CLIENT = """
from framehouse_client import Client

with Client() as client:
    for path in client.create("a red fox", n=2).wait().save("client"):
        print(path)
"""


def install(wheels: Sequence[Path], folder: Path) -> Path:
    """Install the wheels and the packages of requirements-runtime.lock in a new environment, as the Dockerfile does.

    The environment `client` contains only the client and its dependencies. Returns the folder of the environments.
    """

    def pip(environment: str, *arguments: str | Path) -> None:
        command = [folder / environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *arguments]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)  # noqa: S603
        if run.returncode:
            raise SystemExit(f"pip {arguments[0]}: {run.stderr.strip()[-2000:]}")

    for environment in ("build", "env", "client"):
        venv.create(folder / environment, with_pip=True)
    pinned = ("--require-hashes", "--only-binary", ":all:")
    pip("build", "install", *pinned, "-r", ROOT / "requirements-build.lock")
    from_sources = ("--no-binary", "pyvips", "--no-build-isolation")
    runtime = ("-w", folder / "wheels", "-r", ROOT / "requirements-runtime.lock")
    pip("build", "wheel", "--no-deps", *pinned, *from_sources, *runtime)
    pip("env", "install", "--no-index", "--no-deps", *(folder / "wheels").glob("*.whl"), *wheels)
    pip("env", "check")
    client = next(wheel for wheel in wheels if wheel.name.startswith("framehouse_client-"))
    pip("client", "install", "--no-index", "--find-links", folder / "wheels", client)
    return folder


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        raise SystemExit(f"{path} is not a PNG")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


@contextmanager
def serving(program: Path, folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Run a server on a free port. Yields its URL and its key."""
    output = folder / "serve.out"
    with output.open("w") as file:
        server = subprocess.Popen(  # noqa: S603
            [str(program), "serve", "--port", "0"], cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + 120
        while not (ready := re.search(r"is ready at (\S+)", output.read_text())):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"framehouse serve: {output.read_text()}")
            time.sleep(0.1)
        key = re.search(r"^\s+(fh_\S+)$", output.read_text(), re.MULTILINE)
        yield ready[1], key[1] if key else ""
    finally:
        server.terminate()
        server.wait(timeout=60)


def main() -> int:
    wheels = sorted(Path(sys.argv[1]).absolute().glob("framehouse*.whl"))
    if len(wheels) != 2:
        raise SystemExit(f"{sys.argv[1]} must contain two wheels, not {[wheel.name for wheel in wheels]}")
    versions = {wheel.name.split("-")[1] for wheel in wheels}
    if len(versions) != 1:
        raise SystemExit(f"the wheels have different versions: {sorted(versions)}")
    with tempfile.TemporaryDirectory(prefix="framehouse-wheel-") as temporary:
        folder = install(wheels, Path(temporary))
        program = folder / "env" / "bin" / "framehouse"
        empty_folder = folder / "empty"
        empty_folder.mkdir()
        environment = {"PATH": os.defpath, "HOME": temporary, "FRAMEHOUSE_DATA_DIR": str(folder / "data")}

        def run(program: Path, *arguments: str, **extra: str) -> str:
            run = subprocess.run(  # noqa: S603
                [str(program), *arguments],
                cwd=empty_folder,
                env=environment | extra,
                check=False,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if run.returncode:
                raise SystemExit(f"{program.name} {arguments[0]}: {run.stderr.strip()}")
            return run.stdout.strip()

        if (output := run(program, "--version")) != f"framehouse, version {versions.pop()}":
            raise SystemExit(f"`framehouse --version` printed: {output}")
        task = json.loads(run(program, *DEMO, "--json"))
        sizes = [png_size(empty_folder / image["file"]) for image in task["images"]]
        if sizes != [SIZE] * 3:
            raise SystemExit(f"the demo generated images of other sizes: {sizes}")
        print(f"{wheels[0].name}: in a clean environment, it generated the demo's three images of {SIZE[0]}×{SIZE[1]}")
        with serving(program, folder, environment) as (url, key):
            python = folder / "client" / "bin" / "python"
            paths = run(python, "-c", CLIENT, FRAMEHOUSE_URL=url, FRAMEHOUSE_KEY=key).split()
        if len([png_size(empty_folder / path) for path in paths]) != 2:
            raise SystemExit(f"the client saved other files: {paths}")
        print(f"{wheels[1].name}: in an environment without the server, it saved two images of a server")
    return 0


if __name__ == "__main__":
    sys.exit(main())
