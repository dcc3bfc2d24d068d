"""Look for vulnerabilities in the installed packages, risky code and committed secrets. Run by `make audit`.

    python scripts/audit.py FOLDER    the folder of an environment with pip-audit and bandit

It prints each finding, and its exit status is 1 if there are any. The exit status is 2 if there are no findings, but
the advisories of some packages could not be queried.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK_FILES = ("requirements.lock", "requirements-diffusers.txt")
SECRETS = re.compile(
    rb"fh_[A-Za-z0-9_-]{43}\b|\bak_[A-Za-z0-9_-]{32}\b|whsec_[A-Za-z0-9+/]{43}=|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bhf_[A-Za-z0-9]{34}\b|\bsk-[A-Za-z0-9_-]{40,}\b"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{20,}|\bAIza[0-9A-Za-z_-]{35}\b"
)
TEST_SECRET = b"whsec_dGVzdHNlY3JldHRlc3"
"""The beginning of the secret that the tests use: "testsecrettest…"."""


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    arguments = [str(argument) for argument in command]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, check=False)  # noqa: S603 - fixed commands


def vulnerabilities(tools: Path, lock_file: str) -> tuple[list[str], int, int]:
    """Query the advisories of the packages in a lock file.

    Returns the findings, the number of queried packages, and the number of packages that could not be queried.
    """
    packages = len(re.findall(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==", (ROOT / lock_file).read_text(), re.MULTILINE))
    options = ("--disable-pip", "--no-deps", "-f", "json", "--progress-spinner=off")
    report = run(tools / "pip-audit", *options, "-r", lock_file)
    try:
        dependencies = json.loads(report.stdout)["dependencies"]
    except (ValueError, KeyError):  # pip-audit exits with a traceback if the index is unreachable
        return [], 0, packages
    queried = [package for package in dependencies if "vulns" in package]
    findings = [
        f"{lock_file}: {package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'none'}"
        for package in queried
        for vulnerability in package["vulns"]
    ]
    return findings, len(queried), len(dependencies) - len(queried)


def risky_code(tools: Path) -> list[str]:
    """Return the findings of bandit in the sources, by the rules in pyproject.toml."""
    bandit = run(tools / "bandit", "-q", "-r", "src", "clients/python/src", "-c", "pyproject.toml", "-f", "json")
    try:
        report = json.loads(bandit.stdout)
    except ValueError:
        return [f"bandit did not run: {bandit.stderr.decode(errors='replace').strip()[-500:]}"]
    failed = [f"{error['filename']}: {error['reason']}" for error in report["errors"]]
    return failed + [
        f"{result['filename']}:{result['line_number']}: {result['test_id']} {result['issue_text']}"
        for result in report["results"]
    ]


def committed_secrets() -> list[str]:
    """Return the texts that look like keys, in all versions of all files: only their place and first characters."""
    history = run("git", "log", "--all", "-p", "--no-color", "--no-textconv", "--format=commit %h")
    findings, location = {}, b""
    for line in history.stdout.splitlines():
        if line.startswith((b"commit ", b"+++ b/")):
            location = line if line.startswith(b"commit ") else location.partition(b" +++")[0] + b" " + line
        elif line.startswith(b"+") and (secret := SECRETS.search(line)) and not secret[0].startswith(TEST_SECRET):
            findings[secret[0]] = f"{location.decode(errors='replace')}: {secret[0][:8].decode()}…"
    return list(findings.values())


def main() -> int:
    tools = Path(sys.argv[1]).absolute() / "bin"
    findings = risky_code(tools)
    print(f"bandit: {len(findings)} findings in src")
    secrets = committed_secrets()
    print(f"secrets: {len(secrets)} in the repository and its history")
    findings += secrets
    unqueried = 0
    for lock_file in filter(lambda name: (ROOT / name).exists(), LOCK_FILES):
        known, queried, missing = vulnerabilities(tools, lock_file)
        print(f"pip-audit: {len(known)} vulnerabilities in {queried} packages of {lock_file}, {missing} not queried")
        findings += known
        unqueried += missing
    print(*findings, sep="\n", end="\n" if findings else "")
    if unqueried:
        print(f"NOT AUDITED: the advisories of {unqueried} packages could not be queried from https://pypi.org.")
    return 1 if findings else 2 if unqueried else 0


if __name__ == "__main__":
    sys.exit(main())
