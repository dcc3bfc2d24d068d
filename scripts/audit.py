"""Known weaknesses of what we install, risky code, and secrets that were committed. Run by `make audit`.

    python scripts/audit.py FOLDER    the folder of an environment that has pip-audit and bandit

Each finding is printed, and the exit code is 1. It is 2 where nothing was found but the advisories could not be asked.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKED = ("requirements.lock", "requirements-diffusers.txt")
SECRETS = re.compile(
    rb"fh_[A-Za-z0-9_-]{43}\b|\bak_[A-Za-z0-9_-]{32}\b|whsec_[A-Za-z0-9+/]{43}=|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bhf_[A-Za-z0-9]{34}\b|\bsk-[A-Za-z0-9_-]{40,}\b"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{20,}|\bAIza[0-9A-Za-z_-]{35}\b"
)
MADE_UP = b"whsec_dGVzdHNlY3JldHRlc3"
"""How the secret of the tests begins: "testsecrettest…"."""


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    """A program of the audit itself, with its output."""
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False)  # noqa: S603 - of our own choice


def weaknesses(tools: Path, locked: str) -> tuple[list[str], int, int]:
    """Known ones of the packages in a locked file; how many packages were looked up, and how many could not be."""
    packages = len(re.findall(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==", (ROOT / locked).read_text(), re.MULTILINE))
    asked = run(tools / "pip-audit", "--disable-pip", "--no-deps", "-f", "json", "--progress-spinner=off", "-r", locked)
    try:
        found = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):  # it ends with a traceback where nobody answers
        return [], 0, packages
    known = [one for one in found if "vulns" in one]
    told = [
        f"{locked}: {one['name']} {one['version']}: {weak['id']}, mended in {', '.join(weak['fix_versions']) or 'none'}"
        for one in known
        for weak in one["vulns"]
    ]
    return told, len(known), len(found) - len(known)


def risky_code(tools: Path) -> list[str]:
    """What bandit finds in src, by the rules in pyproject.toml."""
    done = run(tools / "bandit", "-q", "-r", "src", "-c", "pyproject.toml", "-f", "json")
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return [f"bandit did not run: {done.stderr.decode(errors='replace').strip()[-500:]}"]
    failed = [f"{error['filename']}: {error['reason']}" for error in report["errors"]]
    return failed + [
        f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text']}" for one in report["results"]
    ]


def committed_secrets() -> list[str]:
    """What has the form of a key, in any version of any file; only where, and how it begins."""
    history = run("git", "log", "--all", "-p", "--no-color", "--no-textconv", "--format=commit %h")
    found, place = {}, b""
    for line in history.stdout.splitlines():
        if line.startswith((b"commit ", b"+++ b/")):
            place = line if line.startswith(b"commit ") else place.partition(b" +++")[0] + b" " + line
        elif line.startswith(b"+") and (secret := SECRETS.search(line)) and not secret[0].startswith(MADE_UP):
            found[secret[0]] = f"{place.decode(errors='replace')}: {secret[0][:8].decode()}…"
    return list(found.values())


def main() -> int:
    tools = Path(sys.argv[1]).absolute() / "bin"
    findings = risky_code(tools)
    print(f"bandit: {len(findings)} findings in src")
    secrets = committed_secrets()
    print(f"secrets: {len(secrets)} in the repository and its history")
    findings += secrets
    unasked = 0
    for locked in filter(lambda name: (ROOT / name).exists(), LOCKED):
        weak, looked_up, missing = weaknesses(tools, locked)
        print(f"pip-audit: {len(weak)} known weaknesses in {looked_up} packages of {locked}, {missing} not looked up")
        findings += weak
        unasked += missing
    print(*findings, sep="\n", end="\n" if findings else "")
    if unasked:
        print(f"NOT AUDITED: the advisories of {unasked} packages could not be had (https://pypi.org/pypi/…/json).")
    return 1 if findings else 2 if unasked else 0


if __name__ == "__main__":
    sys.exit(main())
