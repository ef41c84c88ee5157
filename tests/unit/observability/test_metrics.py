"""Metrics: each is documented, and the histogram for the token's path says what Prometheus' own would."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest

from relay.observability import metrics  # noqa: F401 - declares them
from relay.observability.histogram import LoopHistogram

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
BUCKETS = (0.1, 1.0, 2.5)


def declared():
    """Names as they are scraped, less the parts of a histogram."""
    suffixes = {"counter": "_total", "info": "_info"}
    return {
        family.name + suffixes.get(family.type, "")
        for family in REGISTRY.collect()
        if family.name.startswith("gateway_")
    }


def test_every_metric_is_documented_and_every_documented_one_exists():
    documented = re.findall(r"^\| `(gateway_\w+)` \|", DOCUMENT.read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == declared()


def test_what_must_stay_0_is_there_before_it_happens():
    text = generate_latest().decode()
    assert 'gateway_log_disorder_total{kind="hole"} ' in text  # its number is every test's of this process


def test_every_label_with_few_values_has_them_before_they_happen():
    """Else a sum over none is none, and the first one is no increase."""
    late = {"gateway_ready", "gateway_store_call_duration_seconds"}  # of checks, and of calls to a store that there is
    text = generate_latest().decode()
    for family in REGISTRY.collect():
        if family.name.startswith("gateway_") and family.name not in late:
            assert re.search(rf"^{family.name}(_total|_info|_count)?[{{ ]", text, re.MULTILINE), family.name


def test_a_value_at_a_buckets_edge_is_in_it():
    registry = CollectorRegistry()
    histogram = LoopHistogram("h", "…", buckets=BUCKETS, registry=registry)
    histogram.observe(1.0)
    assert registry.get_sample_value("h_bucket", {"le": "1.0"}) == 1
    assert registry.get_sample_value("h_bucket", {"le": "0.1"}) == 0


@pytest.mark.parametrize("values", [(), (0.0,), (0.1, 0.10001, 2.5, 2.6, 1e9), (-1.0, 3.0)])
def test_it_writes_what_prometheus_own_histogram_writes(values):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    plain = LoopHistogram("h", "…", buckets=BUCKETS, registry=ours)
    labelled = LoopHistogram("l", "…", "call", buckets=BUCKETS, registry=ours)
    their_plain = Histogram("h", "…", buckets=BUCKETS, registry=theirs)
    their_labelled = Histogram("l", "…", ["call"], buckets=BUCKETS, registry=theirs)
    for value in values:
        plain.observe(value)
        their_plain.observe(value)
        labelled.labels("a").observe(value)
        their_labelled.labels("a").observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
