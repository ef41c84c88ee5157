"""A real Prometheus with the rules of ``deploy/`` and the scrape configuration that docs/operations.md shows."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

import yaml

from tests import leftovers
from tests.processes import KEY, ROOT, free_port

LIMIT_SECONDS = 90
RULES = ROOT / "deploy" / "alerts.yml"


class Sample(NamedTuple):
    """One series of a query's result."""

    labels: dict[str, str]
    value: float


def installed(name: str = "prometheus") -> str | None:
    """The path of ``prometheus`` or ``promtool``."""
    return shutil.which(name)


def documented_scrape() -> dict[str, Any]:
    """The scrape configuration that operators copy."""
    text = (ROOT / "docs" / "operations.md").read_text()
    block = re.search(r"```yaml\n(scrape_configs:.*?)```", text, re.DOTALL)
    assert block
    return yaml.safe_load(block[1])


def configuration(folder: Path, targets: Iterable[str], own: str) -> dict[str, Any]:
    """The documented scrape with other targets, beside a job that is not of the gateway: Prometheus itself."""
    key = folder / "key"
    key.write_text(KEY)
    (gateway,) = documented_scrape()["scrape_configs"]
    gateway["authorization"]["credentials_file"] = str(key)
    gateway["static_configs"] = [{"targets": list(targets)}]
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [gateway, {"job_name": "prometheus", "static_configs": [{"targets": [own]}]}],
    }


class Prometheus:
    """Scrapes gateways once a second."""

    def __init__(self, folder: Path, targets: Iterable[str]) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        self._folder = folder
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(folder, targets, self._address)))

    def __enter__(self) -> Self:
        program = installed()
        assert program
        self._process = leftovers.start(
            [
                program,
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
            ]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(LIMIT_SECONDS)

    def query(self, expression: str) -> list[Sample]:
        """The instant value of an expression, now."""
        result = self._get("query", query=expression)["result"]
        return [Sample(series["metric"], float(series["value"][1])) for series in result]

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is pending or firing."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self._get("alerts")["alerts"]}

    def failing_rules(self) -> list[str]:
        """The rules that could not be evaluated, or were not yet."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        assert rules
        return [rule["name"] for rule in rules if rule["health"] != "ok"]

    def wait(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition on what was scraped holds."""

        def holds() -> None:
            assert condition(), "the condition did not come to hold"

        self.wait_for(holds)

    def wait_for(self, picture: Callable[[], None]) -> None:
        """Wait until no assertion about what was scraped fails: a process that stands still misses some scrapes."""
        give_up_at = time.monotonic() + LIMIT_SECONDS
        while True:
            try:
                return picture()
            except (AssertionError, OSError):  # it starts
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(0.2)

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url) as response:
            return json.load(response)["data"]
