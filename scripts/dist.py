"""Build the wheel and the sdist, and look into them. Run by `make dist`.

    python scripts/dist.py [FOLDER]    dist, unless another is named

Both are built from the files as they are, and the same files always give the same bytes. What stands in the folder
before is replaced when the new ones have been found good.
"""

import email.parser
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "src/framehouse"
LICENCES = ("LICENSE", "NOTICE")
MOST_BYTES = 10_000_000
"""A wheel that is larger has got something into it by mistake."""


class Bad(Exception):
    """What is wrong with what was built."""


def build(source: Path, target: str, folder: Path) -> Path:
    """The wheel or the sdist of a folder of sources."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Bad(f"the {target} cannot be built:\n{done.stderr}")
    (built,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


def tracked(root: Path, folder: str) -> set[str]:
    """The files of a folder that are in git, by their paths in the repository."""
    words = ["git", "ls-files", "-z", folder]
    listed = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 - of our own choice
    return set(filter(None, listed.stdout.split("\0")))


def look_into_wheel(wheel: Path, sources: set[str]) -> None:
    """The wheel holds every source, both licences, nothing else, and a description that an index shows. Raises Bad."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        info = next(name.split("/")[0] for name in held if name.split("/")[0].endswith(".dist-info"))
        metadata = email.parser.Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    code = {name for name in held if not name.startswith(f"{info}/")}
    wanted = {name.removeprefix("src/") for name in sources}
    if code != wanted:
        raise Bad(f"{wheel.name} lacks {sorted(wanted - code)} and should not hold {sorted(code - wanted)}")
    if missing := {f"{info}/licenses/{name}" for name in LICENCES} - held:
        raise Bad(f"{wheel.name} lacks {sorted(missing)}")
    if wheel.stat().st_size > MOST_BYTES:
        raise Bad(f"{wheel.name} has {wheel.stat().st_size:,} bytes")
    described = str(metadata.get_payload())
    if astray := re.findall(r"\]\((?!https?:)[^)]*\)", described):
        raise Bad(f"the description links to what an index does not have: {astray}")
    for words in ("pip install framehouse", "/omni-image", "## What makes Framehouse different?", "## Documentation"):
        if words not in described:
            raise Bad(f"the description lacks {words!r}: see fancy-pypi-readme in pyproject.toml")


def make(root: Path, folder: Path) -> list[Path]:
    """Both, in a folder, found good: the sdist holds what its wheel needs, for it builds the same. Raises Bad."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        wheel, sdist = build(root, "wheel", place), build(root, "sdist", place)
        look_into_wheel(wheel, tracked(root, PACKAGE))
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        unpacked = place / sdist.name.removesuffix(".tar.gz")
        if missing := [name for name in LICENCES if not (unpacked / name).exists()]:
            raise Bad(f"{sdist.name} lacks {missing}")
        (place / "again").mkdir()
        if build(unpacked, "wheel", place / "again").read_bytes() != wheel.read_bytes():
            raise Bad(f"{sdist.name} does not build the same wheel")
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("framehouse-*.whl"), *folder.glob("framehouse-*.tar.gz")):
            old.unlink()
        return [Path(shutil.copy(built, folder)) for built in (wheel, sdist)]


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist")
    try:
        built = make(ROOT, folder.absolute())
    except Bad as bad:
        print(f"make dist: {bad}", file=sys.stderr)
        return 1
    for path in built:
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
