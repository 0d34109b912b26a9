"""Alerts and dashboard: they ask only for metrics that exist, and each alert is explained."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess

import pytest
import yaml

from _modules import k3sfw as module
from _runners import k3sfw as runner
from k3sfw_engine.checks.metrics import definitions
from k3sfw_engine.fleet.forms import prometheus
from k3sfw_engine.model.exposition import Metric
from tests.paths import ROOT

MONITORING = ROOT / "monitoring"
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "k3sfw.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
PAGE = (ROOT / "docs/metrics.md").read_text()
DASHBOARD = json.loads((MONITORING / "grafana-k3sfw.json").read_text())
DECLARED = {
    each.name
    for module in (definitions, prometheus)
    for each in vars(module).values()
    if isinstance(each, Metric)
}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="prometheus is not installed"
)


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries():
    """Every query of the rules and of the dashboard."""
    for rule in RULES:
        yield rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "k3sfw.rules.yml"), ("test", "rules", "k3sfw.rules.test.yml")],
    ids=" ".join,
)
def test_promtool_is_content(arguments):
    done = subprocess.run(["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_that_fires():
    tests = (MONITORING / "k3sfw.rules.test.yml").read_text()
    for rule in RULES:
        assert rule["alert"] in tests, rule["alert"]


def test_every_alert_is_explained_where_its_link_leads():
    headings = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        page, _hash, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page.endswith("/docs/metrics.md")
        assert anchor == rule["alert"].lower()
        assert rule["labels"]["severity"] in ("critical", "warning", "info")


def test_only_metrics_that_exist_are_asked_for():
    asked = {name for query in queries() for name in re.findall(r"\bk3sfw_\w+", query)}
    assert asked and asked <= DECLARED


def test_every_panel_says_which_command_goes_deeper():
    for panel in panels():
        assert "salt" in panel["description"], panel["title"]


def test_the_dashboard_is_of_one_cluster_and_any_datasource():
    names = [each["name"] for each in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "cluster", "role"]
    for panel in panels():
        assert panel["datasource"]["uid"] == "$datasource"
        for target in panel["targets"]:
            assert '"$cluster"' in target["expr"], target["expr"]


def test_every_function_that_an_operator_is_told_to_call_exists():
    texts = [rule["annotations"]["description"] for rule in RULES]
    texts += [panel["description"] for panel in panels()]
    named = {found for text in texts for found in re.findall(r"(salt-run |)k3sfw\.(\w+)", text)}
    assert {program for program, _name in named} == {"salt-run ", ""}
    for program, name in named:
        # The name of a check ends with a label of the alert.
        names = ("check_ports", "check_zones") if name == "check_" else (name,)
        for each in names:
            assert inspect.isfunction(getattr(runner if program else module, each, None)), each
