"""Look at all that deploys Framehouse with the tools that know it. Run by `make lint-deploy`.

    python scripts/lint_deploy.py FOLDER    the folder of an environment that has hadolint, check-jsonschema, …

What a machine lacks (kubectl, systemd-analyze, caddy) is named and left out, but not where CI is set: there it fails.
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
MOST_EXPOSED = 1.5
"""Of 10, as `systemd-analyze security` counts. What is left is the network, which a server needs."""
OPTIONAL = ("caddy",)


def run(*command: str | Path, source: str = "") -> tuple[int, str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, input=source, capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode, (done.stdout + done.stderr).strip()


def problems(name: str, *command: str | Path) -> list[str]:
    code, said = run(*command)
    return [f"{name}: {said}"] if code else []


def manifests(tools: Path) -> list[str]:
    found = []
    for folder in ("base", "example"):
        code, rendered = run("kubectl", "kustomize", ROOT / "deploy" / "kubernetes" / folder)
        if code:
            found.append(f"kustomize {folder}: {rendered}")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(rendered)
            file.flush()
            found += problems(f"kubernetes {folder}", tools / "kubernetes-validate", "--strict", "--quiet", file.name)
    return found


def units(_tools: Path) -> list[str]:
    """systemd's own opinion of the units, of which only the program is not there."""
    found = []
    for unit in sorted(UNITS.glob("*.service")):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / unit.name.replace("@", "@1")
            copy.write_text(unit.read_text().replace("/opt/framehouse/bin/framehouse", "/bin/true"))
            _, said = run("systemd-analyze", "verify", "--man=no", copy)
            about = [line for line in said.splitlines() if copy.name in line]
            found += [f"{unit.name}: {line}" for line in about]
            template = Path(folder) / unit.name
            shutil.copy(unit, template)
            _, said = run("systemd-analyze", "security", "--offline=true", "--no-pager", template)
        level = re.search(r"exposure level for \S+: ([\d.]+)", said)
        if not level or float(level[1]) > MOST_EXPOSED:
            found.append(f"{unit.name}: exposed by {level[1] if level else said}, of at most {MOST_EXPOSED}")
        else:
            print(f"{unit.name}: exposed by {level[1]} of 10")
    return found


def caddyfile(_tools: Path) -> list[str]:
    return problems("Caddyfile", "caddy", "validate", "--adapter", "caddyfile", "--config", "deploy/compose/Caddyfile")


def main() -> int:
    tools = Path(sys.argv[1]).absolute() / "bin"
    found = problems("Dockerfile", tools / "hadolint", "--failure-threshold", "style", "Dockerfile")
    found += problems(
        "compose.yaml", tools / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"
    )
    found += problems("yamllint", tools / "yamllint", "--strict", "-d", YAML_RULES, "compose.yaml", "deploy")
    found += problems("shellcheck", tools / "shellcheck", *sorted(ROOT.glob("deploy/**/*.sh")))
    missing = []
    for program, look in (("kubectl", manifests), ("systemd-analyze", units), ("caddy", caddyfile)):
        if shutil.which(program):
            found += look(tools)
        else:
            print(f"NOT LOOKED AT, for there is no {program}")
            missing += [program] if program not in OPTIONAL else []
    print(*found, sep="\n", end="\n" if found else "")
    if not found:
        print("lint-deploy: nothing to say")
    return 1 if found or (missing and os.environ.get("CI")) else 0


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
