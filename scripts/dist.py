"""Build the wheel and the sdist, and check their contents. Run by `make dist`.

    python scripts/dist.py [FOLDER]    the default is dist

Both are built from the current files; the same files always give the same bytes. The old files in the folder are
replaced after all checks of the new files have passed.
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
MAX_WHEEL_BYTES = 10_000_000
"""A larger wheel contains files by mistake."""


class BadPackage(Exception):
    """A package cannot be built, or a check of it failed. The message has the reason."""


def build(source: Path, target: str, folder: Path) -> Path:
    """Build the wheel or the sdist of a source folder. Raises BadPackage."""
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        raise BadPackage(f"the {target} cannot be built:\n{run.stderr}")
    (package,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return package


def tracked_files(root: Path, folder: str) -> set[str]:
    """Return the files of a folder that are in git, as paths in the repository."""
    command = ["git", "ls-files", "-z", folder]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 - a fixed command
    return set(filter(None, listed.stdout.split("\0")))


def check_wheel(wheel: Path, sources: set[str]) -> None:
    """Check the files, the size and the description of the wheel. Raises BadPackage.

    It must contain every source file, both licences and nothing else. The package index shows the description.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info"))
        metadata = email.parser.Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    code = {name for name in names if not name.startswith(f"{info}/")}
    expected = {name.removeprefix("src/") for name in sources}
    if code != expected:
        missing, unexpected = sorted(expected - code), sorted(code - expected)
        raise BadPackage(f"{wheel.name}: missing files: {missing}; unexpected files: {unexpected}")
    if missing_licences := {f"{info}/licenses/{name}" for name in LICENCES} - names:
        raise BadPackage(f"{wheel.name}: missing files: {sorted(missing_licences)}")
    if wheel.stat().st_size > MAX_WHEEL_BYTES:
        raise BadPackage(f"{wheel.name} has {wheel.stat().st_size:,} bytes; at most {MAX_WHEEL_BYTES:,} are allowed")
    description = str(metadata.get_payload())
    if relative_links := re.findall(r"\]\((?!https?:)[^)]*\)", description):
        raise BadPackage(f"the description has relative links, which do not work on a package index: {relative_links}")
    for text in ("pip install framehouse", "/omni-image", "## What makes Framehouse different?", "## Documentation"):
        if text not in description:
            raise BadPackage(f'the description lacks "{text}"; see fancy-pypi-readme in pyproject.toml')


def build_and_check(root: Path, folder: Path) -> list[Path]:
    """Build both packages, check them, and copy them to the folder. Raises BadPackage.

    The wheel that the sdist builds must be identical; therefore the sdist contains everything that the wheel needs.
    """
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        wheel, sdist = build(root, "wheel", work), build(root, "sdist", work)
        check_wheel(wheel, tracked_files(root, PACKAGE))
        with tarfile.open(sdist) as archive:
            archive.extractall(work, filter="data")
        unpacked = work / sdist.name.removesuffix(".tar.gz")
        if missing := [name for name in LICENCES if not (unpacked / name).exists()]:
            raise BadPackage(f"{sdist.name}: missing files: {missing}")
        (work / "from-sdist").mkdir()
        if build(unpacked, "wheel", work / "from-sdist").read_bytes() != wheel.read_bytes():
            raise BadPackage(f"{sdist.name} builds another wheel than the repository")
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("framehouse-*.whl"), *folder.glob("framehouse-*.tar.gz")):
            old.unlink()
        return [Path(shutil.copy(package, folder)) for package in (wheel, sdist)]


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist")
    try:
        packages = build_and_check(ROOT, folder.absolute())
    except BadPackage as error:
        print(f"make dist: {error}", file=sys.stderr)
        return 1
    for path in packages:
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
