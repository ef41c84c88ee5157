"""What becomes of the last spans when the gateway stops."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relay.turns import otel
from relay.turns.otel import TurnSpans

HOUR_MS = 3_600_000


class StuckExporter(InMemorySpanExporter):
    """Sends nothing before it may."""

    def __init__(self):
        super().__init__()
        self.may_send = threading.Event()

    def export(self, spans) -> SpanExportResult:
        self.may_send.wait()
        return super().export(spans)


@pytest.fixture
def provider():
    return TracerProvider()


def with_a_span(provider, exporter):
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=HOUR_MS))
    provider.get_tracer("relay").start_span("turn").end()
    return TurnSpans(provider)


async def test_last_spans_are_sent(provider):
    exporter = InMemorySpanExporter()
    await with_a_span(provider, exporter).stop()
    assert [span.name for span in exporter.get_finished_spans()] == ["turn"]
    provider.shutdown()


async def test_collector_that_does_not_answer_is_given_up(provider, monkeypatch, caplog):
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 0.01)
    exporter = StuckExporter()
    await with_a_span(provider, exporter).stop()
    assert "last spans lost" in caplog.text
    exporter.may_send.set()
    provider.shutdown()
