"""Make a release: a commit and a tag on main, and the files to upload. Run by `make release VERSION=x.y.z`.

    python scripts/release.py VERSION [--dry] [--check COMMAND]

All is done in a working tree of its own, from what is committed; main moves at the very end, when all is well. So it
may be stopped at any moment and run again, and a second run after the last step only builds the files anew. Nothing is
pushed or uploaded: it says what is left to do.
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
VERSION_HOME = Path("src/framehouse/__init__.py")
CHECK = "make check dist"
SCRATCH = "framehouse-release-"
_NUMBER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


class Refused(Exception):
    """Why there is no release, and what to do."""


def git(*words: str, at: Path = ROOT) -> str:
    done = subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise Refused(f"git {words[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def number(version: str) -> tuple[int, ...]:
    found = _NUMBER.fullmatch(version)
    if not found:
        raise Refused(f"{version!r} is no version like 1.2.3: make release VERSION=1.2.3")
    return tuple(map(int, found.groups()))


def released(changelog: str, tags: str) -> set[str]:
    """The versions that were released: those with a tag, and those with a date in the changelog."""
    dated = re.findall(rf"^## ({_NUMBER.pattern}) \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE)
    tagged = (tag.removeprefix("v") for tag in tags.split())
    return {found[0] for found in dated} | {tag for tag in tagged if _NUMBER.fullmatch(tag)}


def close_section(changelog: str, version: str, date: str) -> str:
    """The changelog with its unreleased section, the first, under the version and the date. Raises Refused."""
    heading = _HEADING.search(changelog)
    if not heading or not heading[1].endswith("(unreleased)"):
        raise Refused("CHANGELOG.md does not begin with a section like: ## 1.2.3 (unreleased)")
    following = _HEADING.search(changelog, heading.end())
    section = changelog[heading.end() : following.start() if following else None]
    if not re.search(r"^- \S", section, re.MULTILINE):
        raise Refused(f"in CHANGELOG.md there is nothing under: ## {heading[1]}")
    return changelog[: heading.start()] + f"## {version} ({date})" + changelog[heading.end() :]


def set_version(source: str, version: str) -> str:
    changed, count = re.subn(r'^__version__ = ".*"$', f'__version__ = "{version}"', source, flags=re.MULTILINE)
    if count != 1:
        raise Refused(f"{VERSION_HOME} does not set __version__ once")
    return changed


def write_release(place: Path, version: str) -> None:
    """Put the version where it stands: in its home, over the changelog's section, and in the file made from the API."""
    home, changelog = place / VERSION_HOME, place / "CHANGELOG.md"
    home.write_text(set_version(home.read_text(), version))
    changelog.write_text(close_section(changelog.read_text(), version, datetime.now(UTC).date().isoformat()))
    described = place / "docs" / "openapi.json"
    api = json.loads(described.read_text())
    api["info"]["version"] = version
    described.write_text(json.dumps(api, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def working_tree() -> Iterator[Path]:
    """What is committed, in a folder of its own."""
    for line in git("worktree", "list", "--porcelain").splitlines():
        if f"/{SCRATCH}" in line and line.startswith("worktree "):  # a run that was killed left it
            left = line.removeprefix("worktree ")
            git("worktree", "remove", "--force", left)
            shutil.rmtree(Path(left).parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH) as scratch:
        place = Path(scratch) / "framehouse"
        git("worktree", "add", "--detach", str(place), "HEAD")
        try:
            yield place
        finally:
            git("worktree", "remove", "--force", str(place))


def run(command: str, place: Path) -> None:
    """A command that must succeed, without what `make release` itself was given. Raises Refused."""
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VERSION", "DRY", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith(("FRAMEHOUSE_", "GIT_"))}
    print(f"--- {command}", flush=True)
    if subprocess.run(shlex.split(command), cwd=place, env=clean, check=False).returncode:  # noqa: S603 - the caller's
        raise Refused(f"failed: {command}")


def prepare(version: str, check: str, *, dry: bool) -> None:
    """The release's commit and its tag, beside main; with `dry`, all but these. Raises Refused."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    for old in released(changelog, git("tag", "--list", "v*")):
        if number(version) <= number(old):
            raise Refused(f"{version} is not newer than {old}, which is released")
    with working_tree() as place:
        write_release(place, version)
        print(git("diff", at=place), flush=True)
        run(check, place)
        if dry:
            return
        git("commit", "--quiet", "--all", "-m", f"Release {version}", at=place)
        git("tag", "--annotate", f"v{version}", "-m", f"Framehouse {version}", at=place)


def take_over(version: str) -> None:
    """Move main on to the tag, unless it is there. Raises Refused where main has gone another way."""
    tag = git("rev-parse", f"v{version}^{{commit}}")
    head = git("rev-parse", "HEAD")
    if head == tag:
        return
    if git("rev-parse", f"{tag}^") != head:
        if git("merge-base", tag, head) == tag:
            raise Refused(f"{version} is released; main has gone on since")
        raise Refused(f"main does not have the commit of v{version}. To begin anew: git tag --delete v{version}")
    git("merge", "--quiet", "--ff-only", tag)


def release(version: str, check: str, *, dry: bool) -> None:
    number(version)
    if (branch := git("rev-parse", "--abbrev-ref", "HEAD")) != BRANCH:
        raise Refused(f"this is {branch}, not {BRANCH}")
    if changed := git("status", "--porcelain"):
        raise Refused(f"there are changes that are not committed:\n{changed}")
    if not git("tag", "--list", f"v{version}"):
        prepare(version, check, dry=dry)
        if dry:
            print(f"\nDRY: {version} could be released; nothing was kept.")
    elif dry:
        print(f"\nDRY: {version} has its tag; without DRY main moves on to it, if it did not, and the files are built.")
    if dry:
        return
    take_over(version)
    run(f"{shlex.quote(sys.executable)} scripts/dist.py", ROOT)
    print(LEFT_TO_DO.format(version=version, revision=git("rev-parse", "--short=12", "HEAD")))


LEFT_TO_DO = """
{version} is made, here alone. What is left, in this order; up to the first line it can be taken back
(git tag --delete v{version} && git reset --hard HEAD^):

    git push --atomic origin main v{version}
    .cache/deploy/bin/twine upload dist/*
    docker build -t REGISTRY/framehouse:{version} --build-arg VERSION={version} --build-arg REVISION={revision} .
    docker push REGISTRY/framehouse:{version}

The next change begins a new section at the top of CHANGELOG.md: ## x.y.z (unreleased)"""


def main() -> int:
    words = argparse.ArgumentParser()
    words.add_argument("version")
    words.add_argument("--dry", action="store_true")
    words.add_argument("--check", default=CHECK, help="what must succeed, in the release's own tree")
    given = words.parse_args()
    try:
        release(given.version, given.check, dry=given.dry)
    except Refused as refused:
        print(f"No release: {refused}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; run it again.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
