"""The processes of a deployment: each reports itself when an operator asks, and hears the reports of all.

Reports are asked for and sent as orders, so a process needs no list of the others, and keeps none in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
from prometheus_client import Gauge

from relay.conf import conf
from relay.layers.base import Order, SessionLayer
from relay.observability import metrics
from relay.transcripts.rows import worker

ASK_SECONDS: Final = 1.0  # however many operators look
MEASURED_SECONDS: Final = 0.5  # a shorter time says little of the load
REMEMBERED_SECONDS: Final = 30.0  # a process that is silent so long is no longer listed


class ProcessReport(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one moment.

    Attributes:
        name: host and process id, as in ``Turn.worker``.
        cpu: the part of one core that it used of late.
    """

    name: str
    version: str
    uptime_seconds: float
    sockets: int
    event_streams: int
    running_turns: int
    cpu: float
    is_draining: bool


class Heard(msgspec.Struct, frozen=True):
    """A report, and the seconds since it came."""

    report: ProcessReport
    silent_seconds: float


class RollCall:
    """Asks for reports, sends this process's own, and keeps the last one of each process."""

    def __init__(self, layer: SessionLayer, clock: Callable[[], float] = time.monotonic) -> None:
        self._layer = layer
        self._clock = clock
        self._started_at = self._measured_at = clock()
        self._cpu_seconds = time.process_time()
        self._cpu = 0.0
        self._asked_at = float("-inf")
        self._heard: dict[str, tuple[ProcessReport, float]] = {}

    async def take(self) -> list[Heard]:
        """Ask every process for a report; give those heard of so far, this one among them.

        Raises:
            StoreUnavailable: they could not be asked.
        """
        now = self._clock()
        if now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            self._keep(self._report())
            await self._layer.publish_order({"order": "report"})
            await asyncio.sleep(0)  # of a layer in this process the others have answered now
        return self._known()

    async def answer(self) -> None:
        """Send this process's report to all."""
        text = msgspec.json.encode(self._report()).decode()
        await self._layer.publish_order({"order": "reported", "report": text})

    def hear(self, order: Order) -> None:
        """Keep a report; one that cannot be read, of another version, is dropped."""
        try:
            self._keep(msgspec.json.decode(order.get("report") or "", type=ProcessReport))
        except msgspec.DecodeError:
            return

    def _keep(self, report: ProcessReport) -> None:
        self._heard[report.name] = (report, self._clock())

    def _known(self) -> list[Heard]:
        now = self._clock()
        self._heard = {name: kept for name, kept in self._heard.items() if now - kept[1] <= REMEMBERED_SECONDS}
        return [Heard(report, now - heard_at) for _, (report, heard_at) in sorted(self._heard.items())]

    def _report(self) -> ProcessReport:
        return ProcessReport(
            name=worker(),
            version=conf.version,
            uptime_seconds=self._clock() - self._started_at,
            sockets=_total(metrics.SOCKETS),
            event_streams=_total(metrics.EVENT_STREAMS),
            running_turns=_total(metrics.TURNS_RUNNING),
            cpu=self._measured_cpu(),
            is_draining=bool(_total(metrics.DRAINING)),
        )

    def _measured_cpu(self) -> float:
        now, cpu_seconds = self._clock(), time.process_time()
        elapsed = now - self._measured_at
        if elapsed >= MEASURED_SECONDS:
            self._cpu = round((cpu_seconds - self._cpu_seconds) / elapsed, 3)
            self._measured_at, self._cpu_seconds = now, cpu_seconds
        return self._cpu


def _total(gauge: Gauge) -> int:
    return round(sum(sample.value for metric in gauge.collect() for sample in metric.samples))
