"""`make release` in a temporary clone: its checks, its results, and repeated runs after an interruption."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path("scripts/release.py")
UNRELEASED = """# Changelog

## 7.0.0 (unreleased)

- A change, with its reason.

## 6.9.0 (2026-01-02)

- Old.
"""


class Clone:
    """A temporary repository. Its main branch contains the current files, including their uncommitted changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src/framehouse",
             "clients/python", "scripts", "docs",
             "CHANGELOG.md", "README.md", "LICENSE", "NOTICE", "pyproject.toml", ".gitignore"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, files):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.git("init", "--quiet", "--initial-branch=main")
        for key, value in (("user.name", "Alice"), ("user.email", "alice@example.org"), ("commit.gpgsign", "false")):
            self.git("config", key, value)
        self.write("CHANGELOG.md", UNRELEASED)

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "A change")

    def release(self, version: str, *words: str, check: str = "true", code: int = 0) -> str:
        command = [sys.executable, str(SCRIPT), version, "--check", check, *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert self.git("worktree", "list").count("\n") == 0, "a temporary working tree was not removed"
        return done.stdout + done.stderr

    def state(self) -> tuple[str, str, str]:
        return self.git("rev-parse", "HEAD"), self.git("tag", "--list"), self.git("status", "--porcelain")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_release_creates_a_commit_a_tag_and_files_and_can_be_resumed(clone: Clone) -> None:
    before = clone.git("rev-parse", "HEAD")
    output = clone.release("7.0.0")
    assert clone.git("rev-parse", "v7.0.0^{commit}") == clone.git("rev-parse", "main")
    assert clone.git("rev-parse", "main^") == before
    assert clone.git("cat-file", "-t", "v7.0.0") == "tag"
    assert set(clone.git("show", "--format=", "--name-only").split()) == {
        "CHANGELOG.md", "docs/openapi.json", "pyproject.toml", "src/framehouse/__init__.py",
        "clients/python/src/framehouse_client/__init__.py",
    }  # fmt: skip
    changelog = (clone.folder / "CHANGELOG.md").read_text()
    assert changelog == UNRELEASED.replace("(unreleased)", f"({datetime.now(UTC).date()})")
    for package in ("src/framehouse", "clients/python/src/framehouse_client"):
        assert '__version__ = "7.0.0"' in (clone.folder / package / "__init__.py").read_text()
    assert '"framehouse-client==7.0.0"' in (clone.folder / "pyproject.toml").read_text()
    assert {path.name for path in (clone.folder / "dist").iterdir()} == {
        "framehouse-7.0.0-py3-none-any.whl", "framehouse-7.0.0.tar.gz",
        "framehouse_client-7.0.0-py3-none-any.whl", "framehouse_client-7.0.0.tar.gz",
    }  # fmt: skip
    assert "git push --atomic origin main v7.0.0" in output
    assert clone.state()[2] == ""

    done = clone.state()  # a second run only builds the files again
    shutil.rmtree(clone.folder / "dist")
    clone.release("7.0.0", check="false")
    assert clone.state() == done
    assert len(list((clone.folder / "dist").iterdir())) == 4

    clone.git("reset", "--quiet", "--hard", before)  # as after an interruption between the tag and main
    assert "7.0.0 is committed and tagged" in clone.release("7.0.0", check="false")
    assert clone.git("rev-parse", "main") == clone.git("rev-parse", "v7.0.0^{commit}")

    clone.write("README.md", (clone.folder / "README.md").read_text() + "\nMore.\n")
    assert "7.0.0 is already released, and main has newer commits" in clone.release("7.0.0", code=1)
    assert "does not begin with a section" in clone.release("7.0.1", code=1)

    clone.git("reset", "--quiet", "--hard", before)  # the tag exists, but main has another commit
    clone.write("README.md", (clone.folder / "README.md").read_text() + "\nMore.\n")
    assert "git tag --delete v7.0.0" in clone.release("7.0.0", code=1)


def test_a_dry_run_shows_the_changes_and_changes_nothing(clone: Clone) -> None:
    before = clone.state()
    output = clone.release("7.0.0", "--dry")
    assert '+__version__ = "7.0.0"' in output
    assert clone.state() == before
    assert not (clone.folder / "dist").exists()


def test_a_release_that_is_not_ready_is_refused_and_changes_nothing(clone: Clone) -> None:
    for version, words in (
        ("7.0", "is not a version such as 1.2.3"),
        ("", "is not a version such as 1.2.3"),
        ("7.0.0rc1", "is not a version such as 1.2.3"),
        ("6.9.0", "6.9.0 is not newer than 6.9.0"),
        ("6.8.99", "not newer than 6.9.0"),
    ):
        assert words in clone.release(version, code=1)
    clone.git("tag", "v7.1.0")
    assert "7.0.0 is not newer than 7.1.0" in clone.release("7.0.0", code=1)
    clone.git("tag", "--delete", "v7.1.0")
    before = clone.state()
    assert "failed: false" in clone.release("7.0.0", check="false", code=1)
    (clone.folder / "new.txt").touch()
    assert "uncommitted changes:\n?? new.txt" in clone.release("7.0.0", code=1)
    (clone.folder / "new.txt").unlink()
    assert clone.state() == before
    clone.write("CHANGELOG.md", re.sub(r"- A change.*\n", "", UNRELEASED))
    assert "has no entries under: ## 7.0.0 (unreleased)" in clone.release("7.0.0", code=1)
    clone.git("switch", "--quiet", "--create", "side")
    assert "the current branch is side, not main" in clone.release("7.0.0", code=1)


def test_the_next_run_removes_the_working_tree_of_a_killed_run(clone: Clone) -> None:
    before = clone.state()
    command = [sys.executable, str(SCRIPT), "7.0.0", "--check", "sleep 60"]
    killed = subprocess.Popen(command, cwd=clone.folder, stdout=subprocess.PIPE, start_new_session=True)
    assert killed.stdout
    while not killed.stdout.readline().startswith(b"--- sleep"):
        assert killed.poll() is None
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    (left,) = re.findall(r"^worktree (.*framehouse-release-.*)$", clone.git("worktree", "list", "--porcelain"), re.M)
    assert clone.state() == before
    clone.release("7.0.0", "--dry")
    assert not Path(left).parent.exists()


def test_the_check_runs_in_a_clean_tree_with_the_new_version(clone: Clone) -> None:
    """The tree contains no uncommitted and no ignored files."""
    (clone.folder / "dist").mkdir()  # git ignores this folder, so the release is not refused
    (clone.folder / "dist" / "stale").touch()
    check = """from pathlib import Path
assert '7.0.0' in Path('src/framehouse/__init__.py').read_text()
assert not Path('dist').exists()"""
    clone.release("7.0.0", "--dry", check=shlex.join([sys.executable, "-c", check]))
