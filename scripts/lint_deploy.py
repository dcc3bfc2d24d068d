"""Check all deployment files with their linters. Run by `make lint-deploy`.

    python scripts/lint_deploy.py FOLDER    the folder of an environment with hadolint, check-jsonschema, …

If a program is missing (kubectl, systemd-analyze or caddy), the script reports this and skips the program's checks. If
CI is set, the script fails instead, except for caddy.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "deploy" / "systemd"
MAX_EXPOSURE = 1.5
"""The limit for the exposure level of `systemd-analyze security`, from 0 to 10. A server must use the network, so its
level cannot be 0."""
OPTIONAL = ("caddy",)


def run(*command: str | Path, source: str = "") -> tuple[int, str]:
    """Run a command. Returns its exit status and its output."""
    arguments = [str(argument) for argument in command]
    completed = subprocess.run(arguments, cwd=ROOT, input=source, capture_output=True, text=True, check=False)  # noqa: S603
    return completed.returncode, (completed.stdout + completed.stderr).strip()


def problems(name: str, *command: str | Path) -> list[str]:
    """Run a command. Returns its output as a problem if it fails."""
    status, output = run(*command)
    return [f"{name}: {output}"] if status else []


def check_manifests(tools: Path) -> list[str]:
    findings = []
    for folder in ("base", "example"):
        status, rendered = run("kubectl", "kustomize", ROOT / "deploy" / "kubernetes" / folder)
        if status:
            findings.append(f"kustomize {folder}: {rendered}")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(rendered)
            file.flush()
            validate = (tools / "kubernetes-validate", "--strict", "--quiet", file.name)
            findings += problems(f"kubernetes {folder}", *validate)
    return findings


def check_units(_tools: Path) -> list[str]:
    """Check the units with systemd-analyze. Their program is not installed, so a copy names another program."""
    findings = []
    for unit in sorted(UNITS.glob("*.service")):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / unit.name.replace("@", "@1")
            copy.write_text(unit.read_text().replace("/opt/framehouse/bin/framehouse", "/bin/true"))
            _, output = run("systemd-analyze", "verify", "--man=no", copy)
            findings += [f"{unit.name}: {line}" for line in output.splitlines() if copy.name in line]
            template = Path(folder) / unit.name
            shutil.copy(unit, template)
            _, output = run("systemd-analyze", "security", "--offline=true", "--no-pager", template)
        level = re.search(r"exposure level for \S+: ([\d.]+)", output)
        if not level:
            findings.append(f"{unit.name}: systemd-analyze reports no exposure level: {output}")
        elif float(level[1]) > MAX_EXPOSURE:
            findings.append(f"{unit.name}: the exposure level is {level[1]}, the limit is {MAX_EXPOSURE}")
        else:
            print(f"{unit.name}: the exposure level is {level[1]} of 10")
    return findings


def check_caddyfile(_tools: Path) -> list[str]:
    return problems("Caddyfile", "caddy", "validate", "--adapter", "caddyfile", "--config", "deploy/compose/Caddyfile")


def main() -> int:
    tools = Path(sys.argv[1]).absolute() / "bin"
    findings = problems("Dockerfile", tools / "hadolint", "--failure-threshold", "style", "Dockerfile")
    findings += problems(
        "compose.yaml", tools / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"
    )
    findings += problems("yamllint", tools / "yamllint", "--strict", "-d", YAML_RULES, "compose.yaml", "deploy")
    findings += problems("shellcheck", tools / "shellcheck", *sorted(ROOT.glob("deploy/**/*.sh")))
    missing = []
    for program, check in (
        ("kubectl", check_manifests),
        ("systemd-analyze", check_units),
        ("caddy", check_caddyfile),
    ):
        if shutil.which(program):
            findings += check(tools)
        else:
            print(f"NOT CHECKED: {program} is not installed")
            missing += [program] if program not in OPTIONAL else []
    print(*findings, sep="\n", end="\n" if findings else "")
    if not findings:
        print("lint-deploy: no findings")
    return 1 if findings or (missing and os.environ.get("CI")) else 0


YAML_RULES = """
extends: default
rules:
  braces: {max-spaces-inside: 1}
  comments: {min-spaces-from-content: 1}
  document-start: disable
  line-length: {max: 180}
"""

if __name__ == "__main__":
    sys.exit(main())
