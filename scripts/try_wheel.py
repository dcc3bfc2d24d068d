"""Test a wheel in a clean environment: install it as the Dockerfile does, and generate the README's images.

    python scripts/try_wheel.py WHEEL

`make dist` runs this script. The commands run with few environment variables and in an empty folder.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ("generate", "Create a three-frame product storyboard", "--model", "kling-v3-omni", "--series")
SIZE = (1280, 720)
"""The size of each of the demo's three images."""


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel and the packages of requirements-runtime.lock in a new environment, as the Dockerfile does.

    Returns the program.
    """

    def pip(environment: str, *arguments: str | Path) -> None:
        command = [folder / environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *arguments]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)  # noqa: S603
        if run.returncode:
            raise SystemExit(f"pip {arguments[0]}: {run.stderr.strip()[-2000:]}")

    for environment in ("build", "env"):
        venv.create(folder / environment, with_pip=True)
    pinned = ("--require-hashes", "--only-binary", ":all:")
    pip("build", "install", *pinned, "-r", ROOT / "requirements-build.lock")
    from_sources = ("--no-binary", "pyvips", "--no-build-isolation")
    runtime = ("-w", folder / "wheels", "-r", ROOT / "requirements-runtime.lock")
    pip("build", "wheel", "--no-deps", *pinned, *from_sources, *runtime)
    pip("env", "install", "--no-index", "--no-deps", *(folder / "wheels").glob("*.whl"), wheel)
    pip("env", "check")
    return folder / "env" / "bin" / "framehouse"


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        raise SystemExit(f"{path} is not a PNG")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def main() -> int:
    wheel = Path(sys.argv[1]).absolute()
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="framehouse-wheel-") as temporary:
        folder = Path(temporary)
        program = install(wheel, folder)
        empty_folder = folder / "empty"
        empty_folder.mkdir()
        environment = {"PATH": os.defpath, "HOME": temporary, "FRAMEHOUSE_DATA_DIR": str(folder / "data")}

        def framehouse(*arguments: str) -> str:
            run = subprocess.run(  # noqa: S603
                [str(program), *arguments],
                cwd=empty_folder,
                env=environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if run.returncode:
                raise SystemExit(f"framehouse {arguments[0]}: {run.stderr.strip()}")
            return run.stdout.strip()

        if (output := framehouse("--version")) != f"framehouse, version {version}":
            raise SystemExit(f"{wheel.name}: `framehouse --version` printed: {output}")
        task = json.loads(framehouse(*DEMO, "--json"))
        sizes = [png_size(empty_folder / image["file"]) for image in task["images"]]
        if sizes != [SIZE] * 3:
            raise SystemExit(f"the demo generated images of other sizes: {sizes}")
    print(f"{wheel.name}: in a clean environment, it generated the demo's three images of {SIZE[0]}×{SIZE[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
