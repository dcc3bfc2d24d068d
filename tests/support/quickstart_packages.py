"""The packages that a quick-start page installs. Tests do not run the page's install commands.

Python packages must be installed in the test environment, or be a folder of the checkout. Packages of npm are installed
into `.cache/quickstart`. Folders of the checkout with a package of npm are copied there and built.
"""

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.support.command_line import ROOT
from tests.support.node_packages import locked

_CACHE = ROOT / ".cache" / "quickstart"
_NOT_COPIED = ("node_modules", "dist")


class MissingPackage(Exception):
    """Raised if a package is not available. The text names the package, and `debian` the packages to install."""

    def __init__(self, text: str, debian: str = "") -> None:
        super().__init__(text)
        self.debian = debian


def python_paths(packages: list[str]) -> list[Path]:
    """Return the folders to add to the PYTHONPATH, so that the packages can be imported. Raises MissingPackage."""
    paths = []
    for package in packages:
        if package.startswith("./"):
            folder, _, _ = package.partition("[")
            project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
            if not _is_installed(project["name"]):
                source = ROOT / folder / "src"
                paths.append(source if source.is_dir() else ROOT / folder)
        elif not _is_installed(name := re.split(r"[\[<>=!~ ;]", package)[0]):
            raise MissingPackage(f"Python package {name}")
    return paths


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def provide_node_packages(packages: list[str], folder: Path) -> None:
    """Create `folder/node_modules` with the packages. Raises MissingPackage."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MissingPackage("Node.js with npm", "nodejs npm")
    modules = folder / "node_modules"
    for package in packages:
        source = _built(ROOT / package) if package.startswith("./") else _installed(package)
        name = json.loads((source / "package.json").read_text())["name"]
        target = modules / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(source)


def _installed(package: str) -> Path:
    """Return the folder of a package of npm's registry. The first call installs it."""
    name = package[:1] + package[1:].partition("@")[0]
    root = _CACHE / package.replace("/", "+")
    folder = root / "node_modules" / name
    with locked(root):
        if not (root / "complete").exists():
            _npm(["install", "--prefix", str(root), "--no-fund", "--no-audit", package], root)
            (root / "complete").touch()
    return folder


def _built(source: Path) -> Path:
    """Return a built copy of a folder of the checkout. The copy is built again when a file of the folder changes."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and not set(path.parts) & set(_NOT_COPIED))
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes() + b"\0")
    root = _CACHE / f"{source.name}-{digest.hexdigest()[:16]}"
    with locked(root):
        if not (root / "complete").exists():
            shutil.copytree(source, root / "built", ignore=shutil.ignore_patterns(*_NOT_COPIED), dirs_exist_ok=True)
            install = "ci" if (root / "built" / "package-lock.json").exists() else "install"
            _npm([install, "--no-fund", "--no-audit"], root / "built")
            _npm(["run", "build", "--if-present"], root / "built")
            (root / "complete").touch()
    return root / "built"


def _npm(words: list[str], folder: Path) -> None:
    npm = shutil.which("npm")
    assert npm
    done = subprocess.run([npm, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise MissingPackage(f"package for npm {words[0]} ({done.stderr.strip()[-500:]})")
