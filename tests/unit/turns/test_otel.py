"""What a span says of the agent, and what becomes of the last spans when the gateway stops."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from relay.layers.values import Turn
from relay.turns import otel
from relay.turns.otel import TurnSpans
from relay.turns.recorder import TurnRecorder
from tests.clients import LIMIT_SECONDS

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


async def test_last_spans_are_sent(provider, monkeypatch):
    monkeypatch.setattr(otel, "FLUSH_SECONDS", LIMIT_SECONDS)
    exporter = InMemorySpanExporter()
    await with_a_span(provider, exporter).stop()
    assert [span.name for span in exporter.get_finished_spans()] == ["turn"]
    provider.shutdown()


async def test_collector_that_does_not_answer_is_given_up(provider, monkeypatch, caplog):
    monkeypatch.setattr(otel, "FLUSH_SECONDS", 0.01)
    exporter, others = StuckExporter(), set(threading.enumerate())  # one of another test may be about to end
    await with_a_span(provider, exporter).stop()
    sending = [thread.daemon for thread in set(threading.enumerate()) - others if thread.name == "send spans"]
    exporter.may_send.set()
    assert "last spans lost" in caplog.text
    assert sending == [True]  # the process ends without it
    provider.shutdown()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://agent", ("agent", 80)),
        ("https://agent", ("agent", 443)),
        ("https://agent:8443/path", ("agent", 8443)),
        ("http://[::1]:8000", ("::1", 8000)),
    ],
)
def test_a_span_names_the_agents_address(provider, settings, url, address):
    settings.GATEWAY = {**settings.GATEWAY, "AGENT_URL": url}
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with TurnSpans(provider).span(TurnRecorder(Turn("s", "t", "lease", {"type": "user_message"}))):
        pass
    [span] = exporter.get_finished_spans()
    assert (span.attributes["server.address"], span.attributes["server.port"]) == address
    provider.shutdown()


@pytest.mark.parametrize(("named", "name"), [(None, "agent-gateway"), ("mine", "mine")])
def test_a_provider_has_the_name_of_the_environment_or_the_gateways(monkeypatch, named, name):
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    if named:
        monkeypatch.setenv("OTEL_SERVICE_NAME", named)
    made = []
    monkeypatch.setattr(otel.trace, "get_tracer_provider", lambda: None)
    monkeypatch.setattr(otel.trace, "set_tracer_provider", made.append)
    provider = otel.provider("console")
    assert made == [provider]
    assert provider.resource.attributes["service.name"] == name
    provider.shutdown()


@pytest.mark.parametrize(("name", "exporter"), [("otlp", OTLPSpanExporter), ("console", ConsoleSpanExporter)])
def test_a_provider_sends_where_the_environment_says(monkeypatch, name, exporter):
    sending = []
    monkeypatch.setattr(otel.trace, "get_tracer_provider", lambda: None)
    monkeypatch.setattr(otel.trace, "set_tracer_provider", lambda provider: None)
    monkeypatch.setattr(otel, "BatchSpanProcessor", lambda made: sending.append(made) or SimpleSpanProcessor(made))
    otel.provider(name).shutdown()
    assert [type(made) for made in sending] == [exporter]
