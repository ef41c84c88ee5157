"""What operators are handed fits the code: dashboard, alerts, runbook."""

import json
import re

import pytest
from prometheus_client import REGISTRY

from relay.observability import metrics  # noqa: F401 - declares them
from tests.processes import ROOT

DASHBOARD = ROOT / "deploy" / "grafana.json"
ALERTS = ROOT / "deploy" / "alerts.yml"
RUNBOOK = ROOT / "docs" / "operations.md"
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "info": ("_info",), "gauge": ("",)}


def scraped():
    """Every name that a scrape may have."""
    families = REGISTRY.collect()
    return {family.name + part for family in families for part in PARTS.get(family.type, ("",))}


def expressions():
    """Each query of the dashboard, each rule."""
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return [*queries, *re.findall(r"expr: (?:>-\n)?((?:.|\n {10})+)", ALERTS.read_text())]


def alerts():
    return re.findall(r"- alert: (\w+)", ALERTS.read_text())


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_of_a_query_exists(expression):
    named = set(re.findall(r"\b(?:gateway|process|python)_\w+", expression))
    assert named or "gateway:" in expression or re.search(r"\bup\{", expression)
    assert named <= scraped()


def test_every_rule_that_an_alert_builds_on_is_recorded():
    text = ALERTS.read_text()
    recorded = set(re.findall(r"- record: (\S+)", text))
    assert recorded == set(re.findall(r"gateway:\w+:\w+", text))


def test_labels_of_a_query_are_those_of_its_metric():
    """A selector on a label that a metric does not have selects nothing, and nobody would see that."""
    labels = {"instance", "job", "le", "dialect", "check", "call", "result", "reason", "what", "action", "kind", "code",
              "cause", "status", "error", "found_by"}  # fmt: skip
    for expression in expressions():
        used = re.findall(r"[{,]\s*(\w+)(?:=~|!~|!=|=)\"", expression)
        used += [name for names in re.findall(r"by \(([^)]*)\)", expression) for name in re.split(r",\s*", names)]
        assert set(used) <= labels, expression


def test_every_alert_has_a_paragraph_in_the_runbook_and_every_paragraph_an_alert():
    headings = re.findall(r"^### (Gateway\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert headings == alerts()


def test_every_alert_says_where_its_paragraph_is():
    links = re.findall(r"runbook_url: https://gateway\.example/docs/operations\.md#(\w+)", ALERTS.read_text())
    assert links == [name.lower() for name in alerts()]


def test_every_metric_of_the_gateway_is_on_the_dashboard():
    shown = " ".join(expressions())
    ours = {family.name for family in REGISTRY.collect() if family.name.startswith("gateway_")}
    hidden = {name for name in ours if name not in shown and name != "gateway_build"}
    assert not hidden
