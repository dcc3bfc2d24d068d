"""What is deployed beside the server is what the server tells, and what its tools accept."""

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
    """Of the dashboard's panels and variables, and of the alerts."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query")
    yield from (rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"])


def plain(name: str) -> str:
    """The metric of a series: a histogram has three, and the text format gives counters their ending."""
    return re.sub(r"_(bucket|count|sum|total|info)$", "", name)


@pytest.fixture
async def told(make_deployment: MakeDeployment) -> set[str]:
    """The names of all metrics of a real server, whose process has a worker's, too."""
    async with serving(await make_deployment()) as api:
        text = (await api.anonymous.get("/metrics")).text
    promtool("check", "metrics", input=text)
    return {plain(name) for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}


async def test_dashboard_and_alerts_ask_for_what_the_server_tells(told: set[str]) -> None:
    asked = {plain(name) for expression in expressions() for name in METRIC.findall(expression)}
    assert len(asked) > 20
    assert asked <= told


async def test_all_that_the_server_tells_is_documented_and_on_the_dashboard(told: set[str]) -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    rows = {plain(name) for name in re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)}
    ours = {name for name in told if name.startswith("framehouse_")}
    assert rows == ours
    assert ours <= {plain(name) for expression in expressions() for name in METRIC.findall(expression)}


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(ALERTS))
    promtool("check", "config", str(ALERTS.parent / "prometheus.yml"))


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", str(ALERTS.parent / "alerts_test.yml"))


def test_each_alert_says_what_to_do_and_is_tested() -> None:
    tests = (ALERTS.parent / "alerts_test.yml").read_text()
    page = (ROOT / "docs/metrics.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert len(rule["annotations"]["runbook"].split()) > 8
            assert rule["alert"] in tests
            assert f"`{rule['alert']}`" in page


def test_the_dashboards_expressions_are_promql(tmp_path: Path) -> None:
    asked = [re.sub(r"\$__rate_interval", "5m", one).replace("$model", ".*") for one in expressions()]
    rules = [{"record": f"r:{n}", "expr": one} for n, one in enumerate(asked) if "label_values" not in one]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_grafanas_own_types_know_all_of_the_dashboard() -> None:
    register_default_plugins()
    written = json.loads(DASHBOARD.read_text())
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    assert list(missing(written, read, "")) == []


def missing(written: Any, read: Any, place: str) -> Iterator[str]:
    """What is written and was not read: Grafana would pass over it."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from missing(value, read.get(key), f"{place}/{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, value in enumerate(written):
            yield from missing(value, read[index], f"{place}[{index}]")
    elif written != read:
        yield f"{place}: {written!r} became {read!r}"


def test_panels_have_a_meaning_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        assert panel["type"] == "row" or panel["description"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
