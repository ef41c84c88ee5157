"""A span for each turn, by OpenTelemetry's semantic conventions for generative AI (the span of an agent's invocation).

A span holds names, numbers and times; never the content of a message. https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from relay.conf import conf
from relay.turns.recorder import TurnRecorder
from relay.turns.tracing import Tracing

logger = logging.getLogger(__name__)

AGENT: Final = "agent-runtime"  # its name and, as the provider behind it is unknown, its provider's too
SERVICE: Final = "agent-gateway"
FLUSH_SECONDS: Final = 1.0  # half of the time that a server waits for the process' resources to close
_PORTS: Final = {"http": 80, "https": 443}
_trace_context: Final = TraceContextTextMapPropagator()


class TurnSpans(Tracing):
    """Tracing by an OpenTelemetry provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("relay")

    @contextmanager
    def span(self, recorder: TurnRecorder) -> Iterator[None]:
        turn = recorder.turn
        parent = _trace_context.extract({"traceparent": turn.traceparent or ""})
        span = self._tracer.start_span(
            f"invoke_agent {AGENT}", parent, kind=SpanKind.CLIENT, attributes=_attributes_at_start(recorder)
        )
        made: dict[str, str] = {}
        _trace_context.inject(made, trace.set_span_in_context(span, parent))
        turn.traceparent = made.get("traceparent", turn.traceparent)
        try:
            yield
        finally:
            _end(span, recorder)

    async def stop(self) -> None:
        """Send the remaining spans. They are dropped if the collector does not answer, at the process' end too.

        OpenTelemetry itself would try again for ten seconds, and the process would not end before.
        """
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.force_flush()
            with contextlib.suppress(RuntimeError):  # the loop did not wait
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="send spans", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await sent.wait()
        except TimeoutError:
            atexit.unregister(self._provider.shutdown)
            logger.warning("trace collector does not answer; last spans lost")


def provider(exporter: str) -> TracerProvider:
    """Return the process' provider, made if there is none: ``otlp`` (over HTTP) or ``console``."""
    found = trace.get_tracer_provider()
    if isinstance(found, TracerProvider):
        return found  # made for another event loop, or by a program that instruments this process
    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE}
    made = TracerProvider(resource=Resource.create(name))
    sending: SpanExporter = OTLPSpanExporter() if exporter == "otlp" else ConsoleSpanExporter()
    made.add_span_processor(BatchSpanProcessor(sending))
    trace.set_tracer_provider(made)
    logger.info("tracing on: %s", exporter)
    return made


def _attributes_at_start(recorder: TurnRecorder) -> dict[str, AttributeValue]:
    url, turn = urlsplit(conf.agent_url), recorder.turn
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": AGENT,
        "gen_ai.agent.name": AGENT,
        "gen_ai.conversation.id": turn.session_id,
        "gen_ai.request.stream": True,
        "server.address": url.hostname or "",
        "server.port": url.port or _PORTS[url.scheme],
        "gateway.turn.id": turn.turn_id,
        "gateway.turn.waited_seconds": turn.waited_seconds,
    }


def _end(span: Span, recorder: TurnRecorder) -> None:
    reason = recorder.reason or "lease_lost"
    span.set_attribute("gateway.turn.tokens", recorder.tokens)
    span.set_attribute("gen_ai.response.finish_reasons", [reason])
    if recorder.usage.input_tokens is not None:
        span.set_attribute("gen_ai.usage.input_tokens", recorder.usage.input_tokens)
    if recorder.usage.output_tokens is not None:
        span.set_attribute("gen_ai.usage.output_tokens", recorder.usage.output_tokens)
    if recorder.first_token_seconds is not None:
        span.set_attribute("gen_ai.response.time_to_first_chunk", recorder.first_token_seconds)
    for detachment in recorder.detachments:
        span.add_event(
            "gateway.agent.detached",
            {
                "gateway.agent.detached_seconds": detachment.seconds,
                "gateway.agent.attempts": detachment.attempts,
                "gateway.agent.result": detachment.result,
            },
            detachment.started_at,
        )
    if reason not in ("answered", "cancelled", "handed_over"):
        span.set_attribute("error.type", reason)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
