"""Every metric, declared once. Names and units by Prometheus' conventions; no label has unbounded values."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

SOCKETS: Final = Gauge("gateway_sockets", "Open WebSockets", ["dialect"])
EVENT_STREAMS: Final = Gauge("gateway_event_streams", "Open event streams")
TURNS: Final = Counter("gateway_turns_total", "Turns ended here, by how", ["reason"])
LEASES_LOST: Final = Counter("gateway_leases_lost_total", "Turns that another worker took over from this one")
EVENTS_SKIPPED: Final = Counter(
    "gateway_upstream_events_skipped_total", "Events of the agent that were not passed on", ["cause"]
)
EVENTS_LATE: Final = Counter("gateway_upstream_events_late_total", "Events of the agent after its final one")
