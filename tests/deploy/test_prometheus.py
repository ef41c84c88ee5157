"""The dashboard and the alerts in a real Prometheus: at rest, under load, with a process dead, without an agent."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
from contextlib import AsyncExitStack

import pytest
import yaml

from tests import processes
from tests.clients import V1, SocketClient
from tests.deploy.prometheus import RULES, Prometheus, configuration, installed
from tests.faults.valkey import Valkey
from tests.processes import ROOT

pytestmark = pytest.mark.skipif(
    installed() is None, reason="There is no Prometheus; scripts/install-deploy-tools.sh installs one."
)

PANELS = [panel for panel in json.loads((ROOT / "deploy" / "grafana.json").read_text())["panels"] if "targets" in panel]
RAISED_BY_A_SLOW_MACHINE = {"GatewayEventLoopLate", "GatewayStoreSlow"}
VARIABLES = {"$instance": ".+", "$job": "gateway", "$__rate_interval": "30s", "$__range": "1h"}


def queries():
    """Each query of the dashboard as Grafana sends it, by its panel's title and its legend."""
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            yield (panel["title"], target["legendFormat"]), expression


class Dashboard:
    """What the dashboard, or one of its panels, shows at one moment."""

    def __init__(self, prometheus, instances, only=None):
        wanted = [(name, expression) for name, expression in queries() if only in (None, name[0])]
        self._shown = {name: prometheus.query(expression) for name, expression in wanted}
        for name, samples in self._shown.items():
            assert samples, f"{name} is empty"
            for sample in samples:
                assert not math.isnan(sample.value), f"{name} is not a number"
                assert sample.labels.get("instance") in {None, *instances}, f"{name} shows a foreign process"

    def value(self, title, legend=None, **labels):
        """The one value of a panel, or of one of its queries, or of one of its series."""
        (value,) = {
            sample.value
            for (panel, told), samples in self._shown.items()
            for sample in samples
            if panel == title and legend in (None, told) and labels.items() <= sample.labels.items()
        }
        return value


def test_the_documented_scrape_is_one_that_prometheus_takes(tmp_path):
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration(tmp_path, ["gateway-1:8000"], "localhost:9090")))
    subprocess.run([installed("promtool"), "check", "config", str(file)], check=True, capture_output=True)
    subprocess.run([installed("promtool"), "check", "rules", str(RULES)], check=True, capture_output=True)


async def load(stack, gateways):
    """An answered and a failed turn in each gateway, whose viewers stay."""
    for gateway in gateways:
        browser = SocketClient(f"{gateway.ws_url}/ws/load-{gateway.port}/", [V1], close_timeout=0.2)
        await stack.enter_async_context(browser)
        for content in ("script:tokens 20", "script:status 500"):
            await browser.say(content)
            await browser.turn()


async def test_every_panel_tells_the_truth_at_rest_under_load_and_in_trouble(scripted_agent, tmp_path):
    with Valkey() as valkey, processes.agent("scripted") as agent:
        gateways = [processes.gateway("serve", agent.http_url, REDIS_URL=valkey.url) for _ in range(3)]
        targets = [f"127.0.0.1:{gateway.port}" for gateway in gateways]
        with processes.running(*gateways), Prometheus(tmp_path, targets) as prometheus:
            await asyncio.to_thread(Story(prometheus, targets).tell, gateways, agent)


class Story:
    """What happens to three gateways, and the pictures of it that must come to be seen."""

    def __init__(self, prometheus, targets):
        self._prometheus = prometheus
        self._targets = targets

    def _shown(self, only=None):
        return Dashboard(self._prometheus, self._targets, only)

    def _scraped(self, expression):
        return bool(self._prometheus.query(expression))

    def tell(self, gateways, agent):
        prometheus = self._prometheus
        prometheus.wait(lambda: self._scraped('count(count_over_time(up{job="gateway"}[1m]) > 4) == 3'))
        prometheus.wait_for(self.at_rest)
        prometheus.wait(lambda: prometheus.failing_rules() == [])

        asyncio.run(self._load(gateways))

        gateways[2].kill()
        prometheus.wait(lambda: self._scraped('up{job="gateway"} == 0') and "GatewayDown" in prometheus.alerts())
        prometheus.wait_for(self.one_of_three_is_dead)

        agent.kill()
        prometheus.wait_for(self.the_others_have_no_agent)
        prometheus.wait(lambda: "GatewayNotReady" in prometheus.alerts())

        for gateway in gateways[:2]:
            gateway.kill()
        prometheus.wait(lambda: {"GatewayAbsent", "GatewayDown"} <= set(prometheus.alerts()))
        prometheus.wait_for(self.none_is_left)

    async def _load(self, gateways):
        async with AsyncExitStack() as stack:
            await load(stack, gateways)
            await asyncio.to_thread(self._prometheus.wait_for, self.under_load)

    def at_rest(self):
        shown = self._shown()
        assert (shown.value("Processes", "up"), shown.value("Processes", "down")) == (3, 0)
        for panel in ("Viewers", "Not ready", "Failed turns", "Turns per minute", "Time to first token (p95)"):
            assert shown.value(panel) == 0, panel
        assert self._prometheus.alerts().keys() <= RAISED_BY_A_SLOW_MACHINE

    def under_load(self):
        shown = self._shown()
        assert shown.value("Viewers") == 3
        assert shown.value("Failed turns") == pytest.approx(0.5, abs=0.2)
        assert shown.value("Turns per minute") > 0
        assert 0 < shown.value("Time to first token (p95)") < 60
        assert shown.value("Turns by result", reason="answered") > 0

    def one_of_three_is_dead(self):
        shown = self._shown()
        assert (shown.value("Processes", "up"), shown.value("Processes", "down")) == (2, 1)
        assert "GatewayAbsent" not in self._prometheus.alerts()

    def the_others_have_no_agent(self):
        """They are red, though each of them answers."""
        shown = self._shown()
        assert shown.value("Not ready", check="agent") == 2
        assert shown.value("Not ready", check="store") == 0

    def none_is_left(self):
        """So no other panel has anything to show."""
        shown = self._shown("Processes")
        assert (shown.value("Processes", "up"), shown.value("Processes", "down")) == (0, 3)
