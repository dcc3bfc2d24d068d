"""The dashboard and the alert rules use metrics that the server exposes, and their tools accept them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.api_server import serving
from tests.support.in_process_deployment import MakeDeployment
from tests.support.promtool import promtool

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/framehouse.json"
METRIC = re.compile(r"\b(?:framehouse|process)_[a-z_]+")


def expressions() -> Iterator[str]:
    """The PromQL expressions of the dashboard's panels and variables, and of the alerts."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query")
    yield from (rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"])


def metric_name(name: str) -> str:
    """The name of a series without the suffix that the text format adds to histograms, counters and info metrics."""
    return re.sub(r"_(bucket|count|sum|total|info)$", "", name)


@pytest.fixture
async def exposed(make_deployment: MakeDeployment) -> set[str]:
    """The names of all metrics of a real server. Its process also exposes the metrics of a worker."""
    async with serving(await make_deployment()) as api:
        text = (await api.anonymous.get("/metrics")).text
    promtool("check", "metrics", input=text)
    return {metric_name(name) for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}


async def test_the_metrics_of_the_server_the_dashboard_the_alerts_and_the_documentation_agree(
    exposed: set[str],
) -> None:
    """Every metric of the dashboard and the alerts is exposed. Every own metric is documented and on the dashboard."""
    used = {metric_name(name) for expression in expressions() for name in METRIC.findall(expression)}
    assert len(used) > 20
    assert used <= exposed
    page = (ROOT / "docs/metrics.md").read_text()
    rows = {metric_name(name) for name in re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)}
    own = {name for name in exposed if name.startswith("framehouse_")}
    assert rows == own
    assert own <= used


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("check", "config", str(ALERTS.parent / "prometheus.yml"))


def test_the_alerts_fire_in_the_right_conditions() -> None:
    promtool("test", "rules", str(ALERTS.parent / "alerts_test.yml"))


def test_every_alert_has_a_runbook_a_test_and_documentation() -> None:
    tests = (ALERTS.parent / "alerts_test.yml").read_text()
    page = (ROOT / "docs/metrics.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert len(rule["annotations"]["runbook"].split()) > 8
            assert rule["alert"] in tests
            assert f"`{rule['alert']}`" in page


def test_the_expressions_of_the_dashboard_are_valid_promql(tmp_path: Path) -> None:
    queries = [re.sub(r"\$__rate_interval", "5m", expr).replace("$model", ".*") for expr in expressions()]
    rules = [{"record": f"r:{n}", "expr": expr} for n, expr in enumerate(queries) if "label_values" not in expr]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_grafanas_types_contain_every_field_of_the_dashboard() -> None:
    register_default_plugins()
    written = json.loads(DASHBOARD.read_text())
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    assert list(missing(written, read, "")) == []


def missing(written: Any, read: Any, path: str) -> Iterator[str]:
    """The values of the file that differ after parsing. Grafana would ignore these values."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from missing(value, read.get(key), f"{path}/{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, value in enumerate(written):
            yield from missing(value, read[index], f"{path}[{index}]")
    elif written != read:
        yield f"{path}: {written!r} became {read!r}"


def test_panels_have_a_description_and_do_not_overlap() -> None:
    occupied: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        assert panel["type"] == "row" or panel["description"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & occupied, panel["title"]
        assert all(x < 24 for x, _ in cells)
        occupied |= cells
