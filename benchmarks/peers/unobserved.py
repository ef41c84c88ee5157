"""The gateway without its metrics, to see what they cost; its environment switches logs and transcripts off."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from prometheus_client import metrics as prometheus

from relay.observability import metrics
from relay.observability.histogram import LoopHistogram


class Blind:
    """A metric of any kind that counts nothing."""

    def labels(self, *values: Any) -> Blind:
        return self

    def count(self, *values: Any) -> None:
        pass

    inc = dec = set = observe = info = count

    def track_inprogress(self) -> nullcontext[None]:
        return nullcontext()


for name, metric in list(vars(metrics).items()):
    if isinstance(metric, prometheus.MetricWrapperBase | LoopHistogram):
        setattr(metrics, name, Blind())

from gateway_project.asgi import application  # noqa: E402, F401 - it sets Django up; what follows needs that
from relay.turns.recorder import TurnRecorder  # noqa: E402

TurnRecorder.appended = TurnRecorder.finish = lambda self, _: None  # type: ignore[method-assign]
