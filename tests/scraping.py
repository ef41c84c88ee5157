"""Metrics as tests ask for them: what a scrape says, and by how much it changed."""

from __future__ import annotations

import urllib.request
from collections import Counter

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import KEY, Process

MUST_STAY_0 = (
    "gateway_log_disorder_total",
    "gateway_pubsub_foreign_total",
    'gateway_store_call_errors_total{error="refused"}',
    'gateway_turns_total{reason="internal"}',
)


class Scrape(Counter[str]):
    """Samples by name and labels, as written: ``scrape['gateway_turns_total{reason="answered"}']``.

    A counter that has not been counted is 0; without labels a name gives the sum over all of them.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self[sample.name] += sample.value
                if sample.labels:
                    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
                    self[f"{sample.name}{{{labels}}}"] += sample.value

    def since(self, before: Scrape) -> Scrape:
        """What was counted since."""
        change = Scrape()
        change.update(self)
        change.subtract(before)
        return change

    def wrong(self) -> dict[str, float]:
        """What must stay 0, and is not: with its labels, too."""
        return {name: count for name, count in self.items() if name.startswith(MUST_STAY_0) and count}


def here() -> Scrape:
    """The metrics of this process."""
    return Scrape(generate_latest().decode())


def scrape(url: str) -> Scrape:
    """The metrics of a gateway process."""
    request = urllib.request.Request(f"{url}/metrics", headers={"X-Internal-Auth": KEY})
    with urllib.request.urlopen(request, timeout=60) as response:
        return Scrape(response.read().decode())


def assert_nothing_wrong(gateway: Process) -> None:
    """A gateway process has logged no traceback, and has counted nothing that must stay 0, as long as it runs."""
    log = gateway.output()
    assert "Traceback" not in log, log
    if gateway.is_running:
        wrong = scrape(gateway.http_url).wrong()
        assert not wrong, f"{wrong} must be 0. The log of this gateway:\n{log}"
