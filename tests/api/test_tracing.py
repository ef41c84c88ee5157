"""A turn's trace: the client's context reaches the agent, and with OpenTelemetry there is a span between them."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from relay.process import lifecycle
from relay.turns.otel import TurnSpans
from tests.clients import V1, CommunicatorClient
from tests.http_clients import API
from tests.scripted_agent import Event, Final, Stall, Status, Token

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
USAGE = {"type": "usage", "input_tokens": 5, "output_tokens": 2}
SHOWN = f"00-{TRACE}-{PARENT}-01"
OTHER = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
async def spans(application, monkeypatch):
    """The spans that have ended, of a gateway that traces."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    gateway = await lifecycle.current()
    monkeypatch.setattr(gateway.runner, "_tracing", TurnSpans(provider))
    return exporter.get_finished_spans


async def test_without_tracing_the_agent_gets_the_clients_context_as_it_is(v1, agent):
    async with v1() as browser:
        await browser.say("x", traceparent=SHOWN)
        await browser.turn()
        await browser.say("x")
        await browser.turn()
    assert agent.requests[0].headers["traceparent"] == SHOWN
    assert "traceparent" not in agent.requests[0].json
    assert "traceparent" not in agent.requests[1].headers


@pytest.mark.parametrize("shown", ["", "nonsense", "00-" + "0" * 32 + f"-{PARENT}-01"])
async def test_an_invalid_context_is_none(v1, agent, shown):
    async with v1() as browser:
        await browser.say("x", traceparent=shown)
        await browser.turn()
    assert "traceparent" not in agent.requests[0].headers


async def test_a_handshakes_context_is_that_of_its_messages_and_a_messages_own_goes_before(application, agent):
    headers = [(b"traceparent", SHOWN.encode())]
    async with CommunicatorClient(application, "/ws/s/", [V1], headers=headers) as browser:
        for fields in ({}, {"traceparent": OTHER}):
            await browser.say("x", **fields)
            await browser.turn()
    async with CommunicatorClient(application, "/ws/s/", headers=headers) as browser:
        await browser.say("x", traceparent=OTHER)  # plain has no such field
        await browser.turn()
    assert [request.headers["traceparent"] for request in agent.requests] == [SHOWN, OTHER, SHOWN]


async def test_a_requests_context_is_that_of_its_message(http, agent):
    await http.post(f"{API}/s/messages", {"content": "x"}, headers={"traceparent": SHOWN})
    (request,) = await agent.wait_requests()
    assert request.headers["traceparent"] == SHOWN


async def test_an_answered_turn_is_a_span_between_client_and_agent(v1, agent, spans, caplog):
    agent.script = [Token("a"), Token("b"), Final()]
    async with v1() as browser:
        await browser.say("a prompt", traceparent=SHOWN)
        await browser.turn()
    (span,) = spans()
    assert (span.name, span.kind) == ("invoke_agent agent-runtime", SpanKind.CLIENT)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert agent.requests[0].headers["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    attributes = dict(span.attributes)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert attributes.pop("gateway.turn.waited_seconds") >= 0
    assert attributes.pop("server.port")
    assert attributes.pop("gateway.turn.id") == agent.requests[0].headers["x-request-id"]
    assert attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "agent-runtime",
        "gen_ai.agent.name": "agent-runtime",
        "gen_ai.conversation.id": "s",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("answered",),
        "gateway.turn.tokens": 2,
        "server.address": "127.0.0.1",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_the_agents_usage_is_in_the_span(v1, agent, spans):
    agent.script = [Event(USAGE), Token("a"), Event(USAGE), Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    (span,) = spans()
    assert (span.attributes["gen_ai.usage.input_tokens"], span.attributes["gen_ai.usage.output_tokens"]) == (10, 4)


async def test_without_a_clients_context_the_span_begins_a_trace_of_its_own(v1, agent, spans):
    async with v1() as browser:
        for _ in range(2):
            await browser.ask("x")
    first, second = spans()
    assert first.parent is None
    assert first.context.trace_id != second.context.trace_id
    assert f"{second.context.trace_id:032x}" in agent.requests[1].headers["traceparent"]


async def test_a_turn_that_fails_is_an_error_and_a_cancelled_one_is_none(v1, agent, spans):
    async with v1() as browser:
        agent.script = [Status(503)]
        await browser.say("x")
        await browser.turn()
        agent.script = [Token("a"), Stall()]
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        await browser.turn()
    failed, cancelled = spans()
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "upstream_unavailable"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert cancelled.attributes["gen_ai.response.finish_reasons"] == ("cancelled",)
