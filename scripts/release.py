"""Create a release: a commit and a tag on main, and the files to upload. Run by `make release VERSION=x.y.z`.

    python scripts/release.py VERSION [--dry] [--check COMMAND]

The script works in a temporary working tree of the committed files. It moves main only at the end, after all checks
have passed. It can therefore be stopped at any time and run again; a run after the last step only builds the files
again. It pushes and uploads nothing, and prints the remaining steps.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
BRANCH = "main"
VERSION_FILES = (Path("src/framehouse/__init__.py"), Path("clients/python/src/framehouse_client/__init__.py"))
PIN = re.compile(r'"framehouse-client==[^"]*"')
"""The dependency of the server on the client of the same version, in pyproject.toml."""
CHECK = "make check dist"
TREE_PREFIX = "framehouse-release-"
_NUMBER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


class ReleaseError(Exception):
    """The release is not possible. The message has the reason and what to do."""


def git(*arguments: str, folder: Path = ROOT) -> str:
    run = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603, S607
    if run.returncode:
        raise ReleaseError(f"git {arguments[0]}: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout.strip()


def parse_version(version: str) -> tuple[int, ...]:
    match = _NUMBER.fullmatch(version)
    if not match:
        raise ReleaseError(f'"{version}" is not a version such as 1.2.3. Run: make release VERSION=1.2.3')
    return tuple(map(int, match.groups()))


def released(changelog: str, tags: str) -> set[str]:
    """Return the released versions: those with a tag, and those with a date in the changelog."""
    dated = re.findall(rf"^## ({_NUMBER.pattern}) \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE)
    tagged = (tag.removeprefix("v") for tag in tags.split())
    return {groups[0] for groups in dated} | {tag for tag in tagged if _NUMBER.fullmatch(tag)}


def close_section(changelog: str, version: str, date: str) -> str:
    """Return the changelog with the version and the date as the heading of its first, unreleased section.

    Raises ReleaseError if the first section is not unreleased or has no entries.
    """
    heading = _HEADING.search(changelog)
    if not heading or not heading[1].endswith("(unreleased)"):
        raise ReleaseError("CHANGELOG.md does not begin with a section such as: ## 1.2.3 (unreleased)")
    following = _HEADING.search(changelog, heading.end())
    section = changelog[heading.end() : following.start() if following else None]
    if not re.search(r"^- \S", section, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no entries under: ## {heading[1]}")
    return changelog[: heading.start()] + f"## {version} ({date})" + changelog[heading.end() :]


def set_version(source: str, version: str) -> str:
    changed, count = re.subn(r'^__version__ = ".*"$', f'__version__ = "{version}"', source, flags=re.MULTILINE)
    if count != 1:
        raise ReleaseError("each file with the version must set __version__ exactly once")
    return changed


def set_pin(project: str, version: str) -> str:
    changed, count = PIN.subn(f'"framehouse-client=={version}"', project)
    if count != 1:
        raise ReleaseError("pyproject.toml must depend on framehouse-client exactly once")
    return changed


def write_release(tree: Path, version: str) -> None:
    """Write the version into the sources of both distributions, pyproject.toml, the changelog and docs/openapi.json."""
    project, changelog = tree / "pyproject.toml", tree / "CHANGELOG.md"
    for name in VERSION_FILES:
        (tree / name).write_text(set_version((tree / name).read_text(), version))
    project.write_text(set_pin(project.read_text(), version))
    changelog.write_text(close_section(changelog.read_text(), version, datetime.now(UTC).date().isoformat()))
    openapi_file = tree / "docs" / "openapi.json"
    openapi = json.loads(openapi_file.read_text())
    openapi["info"]["version"] = version
    openapi_file.write_text(json.dumps(openapi, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def working_tree() -> Iterator[Path]:
    """Create a temporary working tree of the committed files. It first removes the trees of killed runs."""
    for line in git("worktree", "list", "--porcelain").splitlines():
        if f"/{TREE_PREFIX}" in line and line.startswith("worktree "):
            old_tree = line.removeprefix("worktree ")
            git("worktree", "remove", "--force", old_tree)
            shutil.rmtree(Path(old_tree).parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=TREE_PREFIX) as folder:
        tree = Path(folder) / "framehouse"
        git("worktree", "add", "--detach", str(tree), "HEAD")
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def run_command(command: str, folder: Path) -> None:
    """Run a command without the environment variables of `make release`. Raises ReleaseError if it fails."""
    excluded = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VERSION", "DRY", "VIRTUAL_ENV")
    environment = {
        k: v for k, v in os.environ.items() if k not in excluded and not k.startswith(("FRAMEHOUSE_", "GIT_"))
    }
    print(f"--- {command}", flush=True)
    if subprocess.run(shlex.split(command), cwd=folder, env=environment, check=False).returncode:  # noqa: S603 - from the caller
        raise ReleaseError(f"failed: {command}")


def commit_and_tag(version: str, check: str, *, dry: bool) -> None:
    """Create the commit of the release and its tag; main does not move. With `dry`, only run the checks.

    Raises ReleaseError.
    """
    changelog = (ROOT / "CHANGELOG.md").read_text()
    for old in released(changelog, git("tag", "--list", "v*")):
        if parse_version(version) <= parse_version(old):
            raise ReleaseError(f"{version} is not newer than {old}, which is released")
    with working_tree() as tree:
        write_release(tree, version)
        print(git("diff", folder=tree), flush=True)
        run_command(check, tree)
        if dry:
            return
        git("commit", "--quiet", "--all", "-m", f"Release {version}", folder=tree)
        git("tag", "--annotate", f"v{version}", "-m", f"Framehouse {version}", folder=tree)


def move_main(version: str) -> None:
    """Move main to the tag, unless it is there already. Raises ReleaseError if main has other commits."""
    tag = git("rev-parse", f"v{version}^{{commit}}")
    head = git("rev-parse", "HEAD")
    if head == tag:
        return
    if git("rev-parse", f"{tag}^") != head:
        if git("merge-base", tag, head) == tag:
            raise ReleaseError(f"{version} is already released, and main has newer commits")
        raise ReleaseError(
            f"main does not contain the commit of v{version}. To start again, run: git tag --delete v{version}"
        )
    git("merge", "--quiet", "--ff-only", tag)


def release(version: str, check: str, *, dry: bool) -> None:
    parse_version(version)
    if (branch := git("rev-parse", "--abbrev-ref", "HEAD")) != BRANCH:
        raise ReleaseError(f"the current branch is {branch}, not {BRANCH}")
    if changed := git("status", "--porcelain"):
        raise ReleaseError(f"there are uncommitted changes:\n{changed}")
    if not git("tag", "--list", f"v{version}"):
        commit_and_tag(version, check, dry=dry)
        if dry:
            print(f"\nDRY: {version} can be released; nothing was changed.")
    elif dry:
        print(f"\nDRY: v{version} exists. Without DRY, main would be moved to it if necessary, and the files built.")
    if dry:
        return
    move_main(version)
    run_command(f"{shlex.quote(sys.executable)} scripts/dist.py", ROOT)
    print(NEXT_STEPS.format(version=version, revision=git("rev-parse", "--short=12", "HEAD")))


NEXT_STEPS = """
{version} is committed and tagged, but only in this repository. Run the following commands in this order. Before the
first of them, you can still undo the release: git tag --delete v{version} && git reset --hard HEAD^

    git push --atomic origin main v{version}
    .cache/deploy/bin/twine upload dist/*
    docker build -t REGISTRY/framehouse:{version} --build-arg VERSION={version} --build-arg REVISION={revision} .
    docker push REGISTRY/framehouse:{version}

With the next change, start a new section at the top of CHANGELOG.md: ## x.y.z (unreleased)"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("version")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--check", default=CHECK, help="the command that must succeed in the release's working tree")
    arguments = parser.parse_args()
    try:
        release(arguments.version, arguments.check, dry=arguments.dry)
    except ReleaseError as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; run it again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
