"""What deploy/ names is there: metrics with their labels, sections of the runbook, panels that do not overlap."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.reference import dashboard
from config.alerts import BUILT_IN
from workers import metrics
from workers.alerting import NOT_ANSWERS

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
API_PAGE = ROOT / "docs" / "reference" / "api.md"
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "batchwright.json"
PROMTOOL = shutil.which("promtool")
_NAME = re.compile(r"(?<![:\w])(batchwright_\w+)(?:\{([^}]*(?:\}[^}\"]*\"[^}]*)*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


@cache
def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


@cache
def expressions() -> dict[str, str]:
    by_name = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for panel in panels():
        by_name |= {f"{panel['title']} {each['refId']}": each["expr"] for each in panel.get("targets", ())}
    return by_name


def test_every_expression_asks_for_metrics_and_labels_that_exist() -> None:
    known = {each.name: each for each in metrics.ALL}
    for each in metrics.ALL:
        if each.kind == "histogram":
            known |= {f"{each.name}_{part}": each for part in ("bucket", "count", "sum")}
    asked = [(name, *found) for name, text in expressions().items() for found in _NAME.findall(text)]
    assert [(name, metric) for name, metric, _ in asked if metric not in known] == []
    for name, metric, matchers in asked:
        labels = set(_MATCHER.findall(matchers))
        assert labels <= {*known[metric].labels, "le"}, (name, metric, labels)


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    own = {rule.name for rule in BUILT_IN}
    of_prometheus = {rule["labels"]["rule"] for rule in alerts()}
    assert own | of_prometheus == sections
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['labels']['rule']}"


def test_every_rule_of_ours_has_its_like_in_prometheus() -> None:
    assert {rule.name for rule in BUILT_IN} <= {rule["labels"]["rule"] for rule in alerts()}


def test_every_alert_says_how_bad_it_is_and_what_is_the_matter() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert {"summary", "description"} <= set(alert["annotations"])


def test_a_counter_is_never_summed_before_its_rate_is_taken() -> None:
    counters = [each.name for each in metrics.ALL if each.kind == "counter"]
    for name, expression in expressions().items():
        for counter in counters:
            for found in re.finditer(rf"{counter}\b", expression):
                before, behind = expression[: found.start()], expression[found.end() :]
                asks_whether_it_is_new = re.match(r" (unless|offset) ", behind)
                assert asks_whether_it_is_new or re.search(r"(rate|increase)\($", before), (name, counter)


def test_the_api_is_slow_by_the_same_calls_here_and_there() -> None:
    (found,) = re.findall(
        r'endpoint!~"([^"]*)"', expressions()["batchwright:request_duration_seconds:p95_5m"]
    )
    paths = {path for path, _ in re.findall(r"`[A-Z]+ (/[^`]*)`( |$)", API_PAGE.read_text(encoding="utf-8"))}
    assert {path for path in paths if re.fullmatch(found, path)} == {
        path for path in paths if path.endswith(NOT_ANSWERS)
    }
    assert len(paths) > 40


def test_panels_have_a_place_of_their_own_a_meaning_and_something_to_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        places = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not places & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= places
        if panel["type"] != "row":
            assert panel["description"] and panel["targets"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_dashboard_is_what_its_panels_say() -> None:
    assert DASHBOARD.read_text(encoding="utf-8") == dashboard.page(), "run `make docs`"


def test_what_compose_hands_to_prometheus_and_grafana_is_there() -> None:
    volumes = re.findall(
        r"- \./(deploy/[\w./-]+):", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    )
    assert "deploy/prometheus/alerts.yml" in volumes
    assert [path for path in volumes if not (ROOT / path).exists()] == []


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine (Debian's package is `prometheus`)")
def test_promtool_accepts_configuration_and_rules_and_their_own_tests_pass(tmp_path: Path) -> None:
    for words in (
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ):
        said = subprocess.run([str(PROMTOOL), *words], cwd=PROMETHEUS, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr

    # and every expression of the dashboard is PromQL
    filled = {
        name: expr.replace("$__rate_interval", "5m").replace("$provider", ".*").replace("$process", ".*")
        for name, expr in expressions().items()
    }
    as_rules = [{"record": f"panel_{number}", "expr": expr} for number, expr in enumerate(filled.values())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": as_rules}]}))
    said = subprocess.run(
        [str(PROMTOOL), "check", "rules", "panels.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr
