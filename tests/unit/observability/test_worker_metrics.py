"""The metrics of several workers in one text, which Prometheus' own parsers read."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from relay.observability.histogram import LoopHistogram
from relay.observability.worker_metrics import Labelled, merge

FORMATS = {"text/plain": parse_text, "application/openmetrics-text;version=1.0.0": parse_openmetrics}


def worker_text(number, accept, help_text="Turns\nended \\ here"):
    registry = CollectorRegistry()
    Counter("turns_total", help_text, ["reason"], registry=registry).labels("answered").inc(number + 1)
    Gauge("sockets", "Open", registry=registry).set(number)
    Info("build", "Version", registry=registry).info({"version": "1"})
    LoopHistogram("calls", "Calls", "call", buckets=(0.5, 1), registry=registry).labels("append").observe(number)
    encode, _ = choose_encoder(accept)
    return encode(Labelled(registry, worker=str(number))).decode()


def samples(families):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


@pytest.mark.parametrize("accept", FORMATS)
def test_each_metric_is_described_once_and_has_the_samples_of_all(accept):
    text = merge([worker_text(number, accept) for number in (0, 1, 2)])
    families = list(FORMATS[accept](text))
    names = [family.name.removesuffix("_info") for family in families]
    assert sorted(names) == ["build", "calls", "sockets", "turns"]
    alone = [samples(FORMATS[accept](worker_text(number, accept))) for number in (0, 1, 2)]
    assert samples(families) == alone[0] | alone[1] | alone[2]
    assert text.count("# HELP turns") == text.count("# TYPE turns") == 1
    assert samples(families)["turns_total", ("reason", "answered"), ("worker", "2")] == 3


def test_processes_of_two_versions_may_describe_a_metric_differently():
    text = merge([worker_text(0, ""), worker_text(1, "", help_text="Turns that ended")])
    assert text.count("# HELP turns") == 1
    assert samples(parse_text(text))["turns_total", ("reason", "answered"), ("worker", "1")] == 2


@pytest.mark.parametrize("accept", FORMATS)
def test_one_text_stays_as_it_is(accept):
    assert merge([worker_text(0, accept)]) == worker_text(0, accept)
