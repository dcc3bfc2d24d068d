"""What deploys Framehouse says what the code says: variables, ports, users, times. The rest sees `make lint-deploy`."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from framehouse.cli.commands import cli
from framehouse.settings import PREFIX, Settings, load_settings
from tests.support.system_packages import skip_missing

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UID = 10001
STOP_S = Settings.model_fields["stop_s"].default
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "framehouse" in service["image"]}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    """The manifests as kustomize makes them. Skipped where there is no kubectl; but CI must have one."""
    if shutil.which("kubectl") is None:
        skip_missing("kubectl")
    words = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def pods(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The components and their pod templates."""
    for found in rendered(folder):
        if found["kind"] == "Deployment":
            pod = found["spec"]["template"]
            yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod


def named(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in rendered(folder) if found["kind"] == kind}


def seconds(time: str) -> int:
    found = re.fullmatch(r"(\d+)s", time)
    assert found, time
    return int(found[1])


def test_every_variable_that_is_named_is_a_setting() -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    known = settings | {f"{name}_FILE" for name in settings} | {"FRAMEHOUSE_CONFIG"}
    files = [ROOT / "compose.yaml", ROOT / "Dockerfile", *(path for path in DEPLOY.rglob("*") if path.is_file())]
    variables = {}
    for path in files:
        if "secrets" not in path.parts:
            for name in re.findall(r"(?<![{A-Z_])FRAMEHOUSE_[A-Z_]+", path.read_text(errors="replace")):
                variables[name] = path
    assert len(variables) > 5
    assert not {name: path for name, path in variables.items() if name not in known}


@pytest.mark.parametrize("path", ["compose/framehouse.toml", "kubernetes/example/framehouse.toml"])
def test_the_settings_files_serve_what_is_served_without(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in filter(lambda name: name.startswith(PREFIX), list(os.environ)):
        monkeypatch.delenv(name)
    assert load_settings(DEPLOY / path).models == Settings().models


def test_commands_are_framehouses() -> None:
    commands = [service["command"] for service in OURS.values()]
    commands += [pod["spec"]["containers"][0]["args"] for _, pod in pods("base")]
    commands.append(re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)[-1].replace('"', "").split())
    for unit in DEPLOY.glob("systemd/*.service"):
        commands += [line.split()[1:] for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    assert len(commands) == 8
    assert {word for words in commands for word in words} <= set(cli.commands)


def test_the_image_runs_as_a_user_by_number_from_pinned_wheels() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [f"{UID}:{UID}"]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.index(" AS runtime")
    assert re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == ("runtime", "framehouse")
    for locked in re.findall(r"-r (\S+\.lock)", DOCKERFILE):
        (command,) = re.findall(rf"pip [^&]*-r {locked}", DOCKERFILE)
        assert "--require-hashes" in command
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [str(Settings.model_fields["port"].default)]


def test_what_the_dockerfile_copies_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert any(Path(name).match(pattern) for pattern in let_through), name


def test_the_locks_of_the_image_are_parts_of_the_whole() -> None:
    def entries(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text().replace("\\\n", "")
        return {line.split("==")[0]: line for line in text.splitlines() if "==" in line}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    whole = entries("requirements.lock")
    for name, wanted in (
        ("requirements-runtime.lock", project["project"]["dependencies"]),
        ("requirements-build.lock", project["dependency-groups"]["build"]),
    ):
        part = entries(name)
        assert part.items() <= whole.items(), f"make lock was not run: {name}"
        assert {re.split(r"[\[>=<]", word)[0] for word in wanted} <= set(part), f"make lock was not run: {name}"
        assert all("--hash=sha256:" in line for line in part.values())
    assert not {"pytest", "mypy", "hatchling"} & set(entries("requirements-runtime.lock"))
    built_with = {re.split(r"[\[>=<]", word)[0] for word in project["build-system"]["requires"]}
    assert built_with <= set(project["dependency-groups"]["build"])


def test_compose_gives_no_more_than_is_needed() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert re.search(r":[^:]*\d", service["image"].split("/")[-1]) or name in OURS, name
    assert set(OURS) == {"api", "worker"}
    assert not [name for name, service in COMPOSE["services"].items() if "ports" in service and name != "proxy"]
    assert COMPOSE["services"]["proxy"]["ports"][0].startswith("${PUBLISH:-127.0.0.1:")
    for service in OURS.values():
        assert seconds(service["stop_grace_period"]) > STOP_S
        assert service["depends_on"]["postgres"]["condition"] == "service_healthy"
        mounted = {f"/run/secrets/{name}" for name in service["secrets"]}
        named = {value for value in service["environment"].values() if value.startswith("/run/secrets/")}
        assert mounted == named


def test_what_compose_mounts_is_made_by_prepare(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    shutil.copytree(DEPLOY / "compose", folder, ignore=shutil.ignore_patterns("secrets"))
    made: dict[str, str] = {}
    for _ in range(2):  # the second time changes nothing
        subprocess.run([folder / "prepare.sh"], check=True, capture_output=True)
        found = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
        assert found == (made or found)
        made = found
    sources = {secret["file"] for secret in COMPOSE["secrets"].values()}
    sources |= {file for service in COMPOSE["services"].values() for file in service.get("env_file", ())}
    assert {Path(source).name for source in sources} == set(made)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    password = made["postgres_password"]
    assert len(password) == 48
    assert made["database_url"] == f"postgresql://framehouse:{password}@postgres/framehouse"
    ignored = subprocess.run(["git", "check-ignore", *sources], cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(ignored.stdout.split()) == sources


@pytest.mark.parametrize("folder", ["base", "example"])
def test_pods_keep_the_restricted_standard(folder: str) -> None:
    components = dict(pods(folder))
    assert set(components) == {"api", "worker"}
    for pod in components.values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == UID
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # FRAMEHOUSE_API_PORT would be one of them
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert spec["terminationGracePeriodSeconds"] > pause + STOP_S
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_what_pods_mount_and_read_is_there() -> None:
    maps, secrets = named("example", "ConfigMap"), named("example", "Secret")
    page = (ROOT / "docs" / "deploy.md").read_text()
    for _, pod in pods("example"):
        (container,) = pod["spec"]["containers"]
        (environment,) = (maps[source["configMapRef"]["name"]]["data"] for source in container["envFrom"])
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        files = set()
        for volume in filter(lambda volume: "secret" in volume, pod["spec"]["volumes"]):
            keys = [item["path"] for item in volume["secret"].get("items", ())]
            if volume["secret"]["secretName"] == "framehouse":  # whoever installs it makes it
                assert all(f"--from-literal={key}=" in page for key in keys)
            else:
                keys = list(secrets[volume["secret"]["secretName"]]["data"])
            files |= {f"{places[volume['name']]}/{key}" for key in keys}
        assert {value for value in environment.values() if value.startswith("/")} == files
        for variable in container["env"]:
            assert f"--from-literal={variable['valueFrom']['secretKeyRef']['key']}=" in page


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy", "PodDisruptionBudget"])
def test_selectors_find_their_pods(kind: str) -> None:
    templates = dict(pods("base"))
    chosen = {}
    for name, found in named("base", kind).items():
        selector = found["spec"].get("podSelector") or found["spec"]["selector"]
        labels = selector.get("matchLabels", selector)
        chosen[name] = {c for c, pod in templates.items() if labels.items() <= pod["metadata"]["labels"].items()}
    assert all(chosen.values()), chosen
    if kind == "NetworkPolicy":
        assert chosen["framehouse-outward"] == {"api", "worker"}


def test_probes_ask_for_paths_that_the_api_has() -> None:
    (container,) = dict(pods("base"))["api"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    paths = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"/healthz", "/readyz"}
    api = (ROOT / "docs" / "openapi.json").read_text()
    assert all(f'"{path}"' in api for path in paths)
    assert "/healthz" in DOCKERFILE


def test_units_stop_later_than_what_they_run_and_agree() -> None:
    units = {path.name: path.read_text() for path in DEPLOY.glob("systemd/*.service")}
    assert len(units) == 3
    hardening = []
    for text in units.values():
        (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
        assert int(limit) > STOP_S + 5
        assert "KillMode=mixed" in text
        hardening.append(text[text.index("NoNewPrivileges") : text.index("UMask")])
    assert len(set(hardening)) == 1
    user = re.findall(r"^User=(.*)$", units["framehouse.service"], re.MULTILINE)
    assert f"u {user[0]} " in (DEPLOY / "systemd" / "framehouse.sysusers").read_text()
