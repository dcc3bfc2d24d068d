"""The deployment files agree with the code: variables, ports, users and times. `make lint-deploy` checks the rest."""

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
    """The manifests that kustomize renders. Without kubectl, the test is skipped; in CI it fails."""
    if shutil.which("kubectl") is None:
        skip_missing("kubectl")
    words = ["kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def pods(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The components and their pod templates."""
    for manifest in rendered(folder):
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]
            yield pod["metadata"]["labels"]["app.kubernetes.io/component"], pod


def by_name(folder: str, kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in rendered(folder) if manifest["kind"] == kind}


def seconds(time: str) -> int:
    match = re.fullmatch(r"(\d+)s", time)
    assert match, time
    return int(match[1])


def test_every_variable_is_a_setting() -> None:
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
def test_the_settings_files_configure_the_default_models(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in filter(lambda name: name.startswith(PREFIX), list(os.environ)):
        monkeypatch.delenv(name)
    assert load_settings(DEPLOY / path).models == Settings().models


def test_every_command_exists() -> None:
    commands = [service["command"] for service in OURS.values()]
    commands += [pod["spec"]["containers"][0]["args"] for _, pod in pods("base")]
    commands.append(re.findall(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)[-1].replace('"', "").split())
    for unit in DEPLOY.glob("systemd/*.service"):
        commands += [line.split()[1:] for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    assert len(commands) == 8
    assert {word for words in commands for word in words} <= set(cli.commands)


def test_the_image_runs_as_a_numeric_user_and_installs_pinned_wheels() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [f"{UID}:{UID}"]
    assert DOCKERFILE.index("\nUSER ") > DOCKERFILE.index(" AS runtime")
    assert re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)[-1] == ("runtime", "framehouse")
    for locked in re.findall(r"-r (\S+\.lock)", DOCKERFILE):
        (command,) = re.findall(rf"pip [^&]*-r {locked}", DOCKERFILE)
        assert "--require-hashes" in command
    assert re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.MULTILINE) == [str(Settings.model_fields["port"].default)]


def test_dockerignore_allows_every_file_that_the_dockerfile_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert any(Path(name).match(pattern) for pattern in allowed), name


def test_the_lock_files_of_the_image_are_subsets_of_the_main_lock_file() -> None:
    def entries(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text().replace("\\\n", "")
        return {line.split("==")[0]: line for line in text.splitlines() if "==" in line}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    main = entries("requirements.lock")
    for name, requirements in (
        (
            "requirements-runtime.lock",
            project["project"]["dependencies"] + project["project"]["optional-dependencies"]["mcp"],
        ),
        ("requirements-build.lock", project["dependency-groups"]["build"]),
    ):
        locked = entries(name)
        assert locked.items() <= main.items(), f"{name} is out of date: run make lock"
        names = {re.split(r"[\[>=<]", requirement)[0] for requirement in requirements}
        names -= {"framehouse-client"}  # a distribution of this repository
        assert names <= set(locked), f"{name} is out of date: run make lock"
        assert all("--hash=sha256:" in line for line in locked.values())
    assert not {"pytest", "mypy", "hatchling"} & set(entries("requirements-runtime.lock"))
    build_requirements = {re.split(r"[\[>=<]", requirement)[0] for requirement in project["build-system"]["requires"]}
    assert build_requirements <= set(project["dependency-groups"]["build"])


def test_compose_services_have_minimal_privileges() -> None:
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
        configured = {value for value in service["environment"].values() if value.startswith("/run/secrets/")}
        assert mounted == configured


def test_prepare_creates_every_secret_that_compose_mounts(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    shutil.copytree(DEPLOY / "compose", folder, ignore=shutil.ignore_patterns("secrets"))
    secrets: dict[str, str] = {}
    for _ in range(2):  # the second run changes nothing
        subprocess.run([folder / "prepare.sh"], check=True, capture_output=True)
        contents = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
        assert contents == (secrets or contents)
        secrets = contents
    sources = {secret["file"] for secret in COMPOSE["secrets"].values()}
    sources |= {file for service in COMPOSE["services"].values() for file in service.get("env_file", ())}
    assert {Path(source).name for source in sources} == set(secrets)
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    password = secrets["postgres_password"]
    assert len(password) == 48
    assert secrets["database_url"] == f"postgresql://framehouse:{password}@postgres/framehouse"
    ignored = subprocess.run(["git", "check-ignore", *sources], cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(ignored.stdout.split()) == sources


@pytest.mark.parametrize("folder", ["base", "example"])
def test_pods_comply_with_the_restricted_pod_security_standard(folder: str) -> None:
    components = dict(pods(folder))
    assert set(components) == {"api", "worker"}
    for pod in components.values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == UID
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # otherwise Kubernetes would set FRAMEHOUSE_API_PORT
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


def test_every_file_and_variable_of_the_pods_is_defined() -> None:
    maps, secrets = by_name("example", "ConfigMap"), by_name("example", "Secret")
    page = (ROOT / "docs" / "deploy.md").read_text()
    for _, pod in pods("example"):
        (container,) = pod["spec"]["containers"]
        (environment,) = (maps[source["configMapRef"]["name"]]["data"] for source in container["envFrom"])
        mount_paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        files = set()
        for volume in filter(lambda volume: "secret" in volume, pod["spec"]["volumes"]):
            keys = [item["path"] for item in volume["secret"].get("items", ())]
            if volume["secret"]["secretName"] == "framehouse":  # the operator creates this secret
                assert all(f"--from-literal={key}=" in page for key in keys)
            else:
                keys = list(secrets[volume["secret"]["secretName"]]["data"])
            files |= {f"{mount_paths[volume['name']]}/{key}" for key in keys}
        assert {value for value in environment.values() if value.startswith("/")} == files
        for variable in container["env"]:
            assert f"--from-literal={variable['valueFrom']['secretKeyRef']['key']}=" in page


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy", "PodDisruptionBudget"])
def test_every_selector_matches_a_pod(kind: str) -> None:
    templates = dict(pods("base"))
    matches = {}
    for name, manifest in by_name("base", kind).items():
        selector = manifest["spec"].get("podSelector") or manifest["spec"]["selector"]
        labels = selector.get("matchLabels", selector)
        matches[name] = {c for c, pod in templates.items() if labels.items() <= pod["metadata"]["labels"].items()}
    assert all(matches.values()), matches
    if kind == "NetworkPolicy":
        assert matches["framehouse-outward"] == {"api", "worker"}


def test_probes_request_existing_paths() -> None:
    (container,) = dict(pods("base"))["api"]["spec"]["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    paths = {container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"/healthz", "/readyz"}
    api = (ROOT / "docs" / "openapi.json").read_text()
    assert all(f'"{path}"' in api for path in paths)
    assert "/healthz" in DOCKERFILE


def test_systemd_units_allow_enough_time_to_stop_and_have_the_same_hardening() -> None:
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
