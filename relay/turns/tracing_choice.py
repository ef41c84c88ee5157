"""Chooses tracing by the environment: OpenTelemetry, in ``otel``, or none.

Off unless the environment names an exporter (``OTEL_TRACES_EXPORTER``) or its destination
(``OTEL_EXPORTER_OTLP_ENDPOINT``). Without it a client's trace context still reaches the agent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from relay import extras
from relay.turns.tracing import Tracing

EXPORTERS: Final = ("otlp", "console", "none")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def make_tracing() -> Tracing:
    """Return the tracing that the environment requests. A system check has reported a request that cannot be met."""
    exporter = wanted_exporter()
    if exporter not in ("otlp", "console") or not is_installed():
        return Tracing()
    from relay.turns import otel

    return otel.TurnSpans(otel.provider(exporter))


def wanted_exporter(environ: Mapping[str, str] = os.environ) -> str:
    """Return the exporter that the environment requests: one of ``EXPORTERS``, or a text that is none of them."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter or ("otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none")


def is_installed() -> bool:
    """Are OpenTelemetry's packages installed?"""
    return extras.is_installed("tracing")
