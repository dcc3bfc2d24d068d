"""Use a wheel where nothing else is: install it as in the image, and make the README's pictures. Run by `make dist`.

    python scripts/try_wheel.py WHEEL

The environment is new and empty, and so are the folder and the variables that the commands run with.
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
"""Of the demo's three pictures."""


def installed(wheel: Path, place: Path) -> Path:
    """The program, in an environment of its own with what requirements-runtime.lock pins and nothing more. The steps
    are the Dockerfile's."""

    def pip(environment: str, *words: str | Path) -> None:
        command = [place / environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", *words]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise SystemExit(f"pip {words[0]}: {done.stderr.strip()[-2000:]}")

    for environment in ("build", "env"):
        venv.create(place / environment, with_pip=True)
    pinned = ("--require-hashes", "--only-binary", ":all:")
    pip("build", "install", *pinned, "-r", ROOT / "requirements-build.lock")
    from_sources = ("--no-binary", "pyvips", "--no-build-isolation")
    runtime = ("-w", place / "wheels", "-r", ROOT / "requirements-runtime.lock")
    pip("build", "wheel", "--no-deps", *pinned, *from_sources, *runtime)
    pip("env", "install", "--no-index", "--no-deps", *(place / "wheels").glob("*.whl"), wheel)
    pip("env", "check")
    return place / "env" / "bin" / "framehouse"


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n":
        raise SystemExit(f"{path} is no PNG")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def main() -> int:
    wheel = Path(sys.argv[1]).absolute()
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory(prefix="framehouse-wheel-") as scratch:
        place = Path(scratch)
        program = installed(wheel, place)
        elsewhere = place / "elsewhere"
        elsewhere.mkdir()
        clean = {"PATH": os.defpath, "HOME": scratch, "FRAMEHOUSE_DATA_DIR": str(place / "data")}

        def run(*words: str) -> str:
            command = [str(program), *words]
            done = subprocess.run(  # noqa: S603
                command, cwd=elsewhere, env=clean, check=False, capture_output=True, text=True, timeout=120
            )
            if done.returncode:
                raise SystemExit(f"framehouse {words[0]}: {done.stderr.strip()}")
            return done.stdout.strip()

        if (said := run("--version")) != f"framehouse, version {version}":
            raise SystemExit(f"{wheel.name} says that it is {said!r}")
        made = json.loads(run(*DEMO, "--json"))
        sizes = [png_size(elsewhere / image["file"]) for image in made["images"]]
        if sizes != [SIZE] * 3:
            raise SystemExit(f"the demo made pictures of {sizes}")
    print(f"{wheel.name}: installed alone, it makes the demo's pictures, three of {SIZE[0]}×{SIZE[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
