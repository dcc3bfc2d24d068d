"""The npm packages of clients/typescript: its TypeScript compiler and the generator of its types.

They are installed once per lock file into `.cache`, so that tests do not change the working tree.
"""

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.system_packages import skip_missing

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "typescript"
_TIMEOUT_S = 600


def node() -> str:
    """The path of Node.js. Skips the test if it is not installed; in CI, fails the test."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if not found or not npm:
        skip_missing("Node.js with npm", "nodejs npm")
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a folder of the cache, and let the other test processes wait while this process changes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def node_modules() -> Path:
    """The folder with the packages that package-lock.json pins. The first call installs them."""
    node()
    digest = hashlib.sha256((CLIENT / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / ".cache" / "node" / digest
    with locked(folder):
        if not (folder / "installed").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(CLIENT / name, folder)
            run(["npm", "ci", "--no-audit", "--no-fund", "--silent", "--ignore-scripts"], cwd=folder)
            (folder / "installed").touch()
    return folder / "node_modules"


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a program, and return its output. Raises AssertionError with the output if the program fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
    return done.stdout


def built_client() -> Path:
    """The folder `clients/typescript` after a build into its `dist`. The build is repeated only after a change."""
    modules = node_modules()
    sources = sorted([*(CLIENT / "src").glob("*.ts"), CLIENT / "tsconfig.json", CLIENT / "package-lock.json"])
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
    dist, stamp = CLIENT / "dist", CLIENT / "dist" / ".built"
    with locked(modules.parent):
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(dist, ignore_errors=True)
            run([node(), str(modules / "typescript" / "bin" / "tsc"), "--project", str(CLIENT)], cwd=CLIENT)
            stamp.write_text(digest)
    return CLIENT


def install_client(folder: Path) -> None:
    """Let the programs in a folder import `framehouse-client`."""
    package = folder / "node_modules" / "framehouse-client"
    package.parent.mkdir(parents=True, exist_ok=True)
    package.symlink_to(built_client(), target_is_directory=True)
