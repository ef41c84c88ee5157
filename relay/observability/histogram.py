"""A histogram for observations of every token and turn: one takes 0.2 µs, with ``prometheus_client``'s histogram 1.

It has no lock, because only the event loop's thread observes. A scrape from another thread may see a sum that is one
observation behind its count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry


class Buckets:
    """The observations of one label value."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket that it fits into."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        """Add the samples to a Prometheus family: each bucket counts all below it too."""
        names = [*map(str, self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(names, accumulate(self._counts), strict=True)), self._sum)


class LoopHistogram(Collector):
    """A histogram that one event loop's thread observes, with one label or none."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str | None = None,
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label_names = [] if label is None else [label]
        self._bounds = tuple(map(float, buckets))
        self._children: dict[str, Buckets] = {}
        if label is None:
            self.labels("")
        registry.register(self)

    def labels(self, value: str) -> Buckets:
        """Return the buckets of one label value. Callers that observe each token keep them."""
        buckets = self._children.get(value)
        if buckets is None:
            buckets = self._children[value] = Buckets(self._bounds)
        return buckets

    def observe(self, value: float) -> None:
        """Count a value of a histogram without a label."""
        self._children[""].observe(value)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Return the metric without samples. (The registry calls it.)"""
        yield self._family()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the metric with its samples. (The registry calls it.)"""
        family = self._family()
        for value, buckets in self._children.items():
            buckets.add_to(family, [value] if self._label_names else [])
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._label_names)
