"""The metrics of several processes in one text: each sample with a label that names its process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector

_FAMILY: Final = re.compile(r"(?=^# HELP )", re.MULTILINE)
_DESCRIPTION: Final = re.compile(r"^#.*\n", re.MULTILINE)
_END: Final = "# EOF\n"  # of OpenMetrics


class Labelled(Collector):
    """The metrics of a registry with further labels, to be encoded."""

    def __init__(self, registry: Collector, **labels: str) -> None:
        self._registry = registry
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        """Return each metric with the labels."""
        for metric in self._registry.collect():
            labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            labelled.samples = [
                sample._replace(labels={**sample.labels, **self._labels})  # a named tuple's public method
                for sample in metric.samples
            ]
            yield labelled


def merge(texts: Iterable[str]) -> str:
    """Join texts in one of Prometheus' formats, so that each metric is described once, with the samples of all."""
    families: dict[str, str] = {}
    is_ended = False
    for text in texts:
        is_ended = is_ended or text.endswith(_END)
        for family in _FAMILY.split(text.removesuffix(_END)):
            name = family.split(" ", 3)[2] if family else ""
            families[name] = families[name] + _samples(family) if name in families else family
    return "".join(families.values()) + (_END if is_ended else "")


def _samples(family: str) -> str:
    return _DESCRIPTION.sub("", family)
