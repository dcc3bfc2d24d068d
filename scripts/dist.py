"""Build the wheels and the sdists of the server and of the Python client, and check their contents. Run by `make dist`.

    python scripts/dist.py [FOLDER]    the default is dist

All are built from the current files; the same files always give the same bytes. The old files in the folder are
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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAX_WHEEL_BYTES = 10_000_000
"""A larger wheel contains files by mistake."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of this repository.

    `name` is the beginning of the names of its files. `project` is the folder with its pyproject.toml, and `package`
    the folder of its package in the project. `texts` are parts of its description.
    """

    name: str
    project: str
    package: str
    licences: tuple[str, ...]
    texts: tuple[str, ...]


DISTRIBUTIONS = (
    Distribution(
        "framehouse",
        ".",
        "src/framehouse",
        ("LICENSE", "NOTICE"),
        ("pip install framehouse", "/omni-image", "## What makes Framehouse different?", "## Documentation"),
    ),
    Distribution(
        "framehouse_client",
        "clients/python",
        "src/framehouse_client",
        ("LICENSE",),
        ("pip install framehouse-client", "from framehouse_client import Client"),
    ),
)


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


def tracked_files(project: Path, folder: str) -> set[str]:
    """Return the files of a folder that are in git, as paths in the project."""
    command = ["git", "ls-files", "-z", folder]
    listed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)  # noqa: S603 - a fixed command
    return set(filter(None, listed.stdout.split("\0")))


def check_wheel(wheel: Path, distribution: Distribution, sources: set[str]) -> None:
    """Check the files, the size and the description of the wheel. Raises BadPackage.

    It must contain every source file, all licences and nothing else. The package index shows the description.
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
    if missing_licences := {f"{info}/licenses/{name}" for name in distribution.licences} - names:
        raise BadPackage(f"{wheel.name}: missing files: {sorted(missing_licences)}")
    if wheel.stat().st_size > MAX_WHEEL_BYTES:
        raise BadPackage(f"{wheel.name} has {wheel.stat().st_size:,} bytes; at most {MAX_WHEEL_BYTES:,} are allowed")
    description = str(metadata.get_payload())
    if relative_links := re.findall(r"\]\((?!https?:)[^)]*\)", description):
        raise BadPackage(f"the description has relative links, which do not work on a package index: {relative_links}")
    for text in distribution.texts:
        if text not in description:
            raise BadPackage(f'the description of {wheel.name} lacks "{text}"; see `readme` in pyproject.toml')


def build_and_check(root: Path, distribution: Distribution, work: Path) -> list[Path]:
    """Build the wheel and the sdist of a distribution in an empty folder, and check them. Raises BadPackage.

    The wheel that the sdist builds must be identical; therefore the sdist contains everything that the wheel needs.
    """
    project = root / distribution.project
    work.mkdir()
    wheel, sdist = build(project, "wheel", work), build(project, "sdist", work)
    check_wheel(wheel, distribution, tracked_files(project, distribution.package))
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    unpacked = work / sdist.name.removesuffix(".tar.gz")
    if missing := [name for name in distribution.licences if not (unpacked / name).exists()]:
        raise BadPackage(f"{sdist.name}: missing files: {missing}")
    (work / "from-sdist").mkdir()
    if build(unpacked, "wheel", work / "from-sdist").read_bytes() != wheel.read_bytes():
        raise BadPackage(f"{sdist.name} builds another wheel than the repository")
    return [wheel, sdist]


def build_all(root: Path, folder: Path) -> list[Path]:
    """Build and check all distributions, and copy the files to the folder. Raises BadPackage."""
    with tempfile.TemporaryDirectory() as temporary:
        built = [
            package
            for distribution in DISTRIBUTIONS
            for package in build_and_check(root, distribution, Path(temporary) / distribution.name)
        ]
        folder.mkdir(parents=True, exist_ok=True)
        for distribution in DISTRIBUTIONS:
            for old in (*folder.glob(f"{distribution.name}-*.whl"), *folder.glob(f"{distribution.name}-*.tar.gz")):
                old.unlink()
        return [Path(shutil.copy(package, folder)) for package in built]


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist")
    try:
        packages = build_all(ROOT, folder.absolute())
    except BadPackage as error:
        print(f"make dist: {error}", file=sys.stderr)
        return 1
    for path in packages:
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
