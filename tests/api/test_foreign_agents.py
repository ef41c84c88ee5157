"""Agents of other protocols: what they are sent, and never sent; how they refuse, and how they are stopped."""

import asyncio
import json

import pytest

from relay.agent import protocols
from relay.agent.protocols.base import (
    AgentProtocol,
    AgentRequest,
    AnswerReader,
)
from relay.conf import conf
from relay.conf.parsers import GATEWAY_HEADERS
from relay.exceptions import UpstreamError
from tests.scripted_agent import Break, ContentType, Final, Head, Send, Stall, Status, Token, Wait

FOREIGN = f"{__name__}.Foreign"


class Foreign(AgentProtocol):
    """Says the turn's text, and what was said before; is stopped by a request of its own."""

    def request(self, turn, history, settings):
        body = {"words": turn.message["content"], "before": [list(past) for past in history]}
        headers = {"X-Foreign": "1", "Accept": "text/event-stream, application/json"}
        return AgentRequest(settings.path or "/ask", body, headers=headers)

    def reader(self, turn, *, max_turn_bytes, redact):
        return ForeignEvents(turn.turn_id, max_turn_bytes=max_turn_bytes, redact=redact)


class ForeignEvents(AnswerReader):
    _run = ""

    def opened(self, headers):
        self._run = headers.get("content-type").partition("run=")[2]

    def refused(self, status, body):
        return UpstreamError(self._redact(f"{status}: {body.decode()[:40]}"))

    def stop_request(self, asked):
        return AgentRequest(f"{asked.path}/{self._run}", None, "DELETE") if self._run else None

    def _read(self, event, made):
        if event.data == "end":
            self._finish("stop", made)
        elif event.data.startswith("fail "):
            self._fail(event.data, made)
        else:
            self._add_text(event.data, made)


TOKEN, END = Send(b"data: a\n\n"), Send(b"data: end\n\n")
RUN = ContentType("text/event-stream; run=r7")


@pytest.fixture
def foreign(agent, configure):
    """An agent of the protocol above; ``foreign(script)`` is what it answers."""
    configure(AGENT_PROTOCOL=FOREIGN)

    def answer(*script):
        agent.on(lambda content: True, lambda request: script if request.method == "POST" else [Status(200)])

    answer(TOKEN, END)
    return answer


async def test_it_is_asked_in_its_own_way(plain, agent, foreign):
    async with plain() as browser:
        assert await browser.ask("hello") == "a"
    (request,) = agent.requests
    assert (request.path, request.json) == ("/ask", {"words": "hello", "before": []})
    assert request.headers["accept"] == "text/event-stream, application/json"
    assert request.headers["x-foreign"] == "1"
    assert request.headers["idempotency-key"]
    assert not {"x-internal-auth", "authorization"} & set(request.headers)


async def test_it_is_told_what_was_said_before(plain, agent, foreign, configure):
    configure(AGENT_HISTORY="2")
    async with plain() as browser, plain("other") as other:
        await other.ask("elsewhere")
        for content in ("one", "two", "three", "four"):
            await browser.ask(content)
    assert agent.requests[-1].json == {"words": "four", "before": [["two", "a"], ["three", "a"]]}


async def test_an_agent_that_keeps_its_conversations_costs_no_reading(plain, agent, monkeypatch):
    monkeypatch.setattr("relay.transcripts.history.History.before", None)
    agent.script = [Token("a"), Final()]
    async with plain() as browser:
        assert await browser.ask("hello") == "a"


async def test_what_the_settings_add_to_a_request(plain, agent, foreign, configure):
    configure(
        AGENT_PATH="/v2/ask?x=1",
        AGENT_API_KEY="sk-1234",
        AGENT_HEADERS="X-Team: chat|User-Agent: ours/1|x-foreign: 2",
    )
    async with plain() as browser:
        assert await browser.ask("hello") == "a"
    (request,) = agent.requests
    assert request.path == "/v2/ask?x=1"
    assert request.headers["authorization"] == "Bearer sk-1234"
    assert request.headers["x-team"] == "chat"
    assert request.headers["user-agent"] == "ours/1"
    names = [name.lower() for name, _ in request.raw_headers]
    assert len(names) == len(set(names))
    assert request.headers["x-foreign"] == "1"  # the protocol needs it


async def test_the_headers_that_operators_cannot_set_are_those_that_the_gateway_sends(plain, agent):
    agent.script = [Final()]
    async with plain() as browser:
        await browser.ask("hello", traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    (request,) = agent.requests
    sent = {name.lower() for name, _ in request.raw_headers}
    assert sent - {"user-agent"} <= GATEWAY_HEADERS


async def test_the_key_goes_to_an_agent_of_our_own_protocol_beside_the_internal_one(plain, agent, configure):
    configure(AGENT_API_KEY="sk-1234")
    agent.script = [Final()]
    async with plain() as browser:
        await browser.ask("hello")
    headers = agent.requests[0].headers
    assert (headers["x-internal-auth"], headers["authorization"]) == ("test-internal-key", "Bearer sk-1234")


async def test_a_key_goes_before_the_credential_in_the_address(plain, agent, foreign, configure):
    configure(AGENT_URL=agent.url.replace("http://", "http://user:word@"))
    async with plain() as browser:
        await browser.ask("hello")
        configure(AGENT_API_KEY="sk-1234")
        await browser.ask("hello")
    sent = [request.headers["authorization"] for request in agent.requests]
    assert sent == ["Basic dXNlcjp3b3Jk", "Bearer sk-1234"]


@pytest.mark.parametrize("protocol", sorted({*protocols.PROTOCOLS, FOREIGN} - {"agent"}))
async def test_the_internal_key_never_goes_out(plain, agent, configure, protocol):
    configure(AGENT_PROTOCOL=protocol)
    agent.on(lambda content: True, [Status(500)])
    async with plain() as browser:
        await browser.say("hello")
        await browser.error()
    for request in agent.requests:
        assert b"test-internal-key" not in request.body
        assert "test-internal-key" not in f"{request.path}{request.raw_headers}"
    assert agent.requests


async def test_a_nested_message_is_a_member_of_the_body(plain, agent, configure):
    configure(AGENT_MESSAGE="nested", FORWARD_TYPES="tool_result")
    agent.script = [Token("a"), Final()]
    async with plain() as browser:
        await browser.ask("hello")
        await browser.send({"type": "tool_result", "call_id": "c", "session_id": "x"})
        await browser.turn()
    assert [request.json for request in agent.requests] == [
        {"session_id": "s", "message": {"type": "user_message", "content": "hello"}},
        {"session_id": "s", "message": {"type": "tool_result", "call_id": "c", "session_id": "x"}},
    ]


@pytest.mark.parametrize("status", [Status(200, {"Content-Type": "application/json"}, b"no"), Status(400, body=b"no")])
async def test_a_refusal_is_in_the_words_of_its_protocol(v1, foreign, status):
    foreign(status)
    async with v1() as browser:
        await browser.say("hello")
        error = (await browser.turn())[-1]
    assert (error["code"], error["content"]) == ("upstream_error", f"{status.code}: no")


async def test_a_refusal_whose_body_does_not_end_is_given_up(v1, foreign, monkeypatch):
    monkeypatch.setattr("relay.agent.refusals.REFUSAL_SECONDS", 0.1)
    foreign(ContentType("text/plain"), Head(), Send(b"x" * 30), Stall())
    async with v1() as browser:
        await browser.say("hello")
        assert (await browser.turn())[-1]["content"] == f"200: {'x' * 30}"


async def test_of_a_long_refusal_only_the_first_bytes_are_read(v1, foreign, monkeypatch):
    monkeypatch.setattr("relay.agent.refusals.MAX_REFUSAL_BYTES", 20)
    foreign(ContentType("text/plain"), *[Send(b"x" * 15)] * 4, Stall())
    async with v1() as browser:
        await browser.say("hello")
        assert (await browser.turn())[-1]["content"] == f"200: {'x' * 20}"


async def test_an_error_never_has_the_password_of_the_address(v1, agent, foreign, configure):
    configure(AGENT_URL=agent.url.replace("//", "//bob:se%2Fsame1@"))
    foreign(Send(b"data: fail for bob, se/same1 or Ym9iOnNlL3NhbWUx\n\n"))
    async with v1() as browser:
        await browser.say("hello")
        assert (await browser.turn())[-1]["content"] == "fail for bob, [removed] or [removed]"


async def test_an_error_never_has_the_keys_that_the_agent_was_sent(v1, foreign, configure):
    configure(AGENT_API_KEY="abc", AGENT_HEADERS="X-Team: chat|X-Auth: Token t0ken7", INTERNAL_API_KEY="internal-7")
    foreign(Send(b"data: fail abc, t0ken7, Token t0ken7, internal-7, chat\n\n"))
    async with v1() as browser:
        await browser.say("hello")
        words = (await browser.turn())[-1]["content"]
    assert words == "fail [removed], [removed], [removed], [removed], chat"


async def test_an_answer_that_is_stopped_is_stopped_at_the_agent_once(v1, agent, foreign, configure):
    configure(AGENT_API_KEY="sk-1234", AGENT_HEADERS="X-Team: chat")
    foreign(RUN, TOKEN, Stall())
    async with v1() as browser:
        await browser.say("hello")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        _, stop = await agent.wait_requests(2)
    assert (stop.method, stop.path, stop.body) == ("DELETE", "/ask/r7", b"")
    assert stop.headers["authorization"] == "Bearer sk-1234"
    assert stop.headers["x-team"] == "chat"
    assert not {"x-internal-auth", "idempotency-key", "content-type"} & set(stop.headers)


@pytest.mark.parametrize(
    "script", [(RUN, TOKEN, END), (TOKEN, Break()), (Status(500),)], ids=["end", "no run", "refusal"]
)
async def test_an_answer_that_needs_no_stop_gets_none(v1, agent, foreign, script):
    foreign(*script)
    async with v1() as browser:
        await browser.say("hello")
        await browser.turn()
        await browser.say("again")
        await browser.turn()
    assert [request.method for request in agent.requests] == ["POST", "POST"]


async def test_a_silent_answer_is_stopped_too(v1, agent, foreign, clock):
    foreign(RUN, TOKEN, Stall())
    async with v1() as browser:
        await browser.say("hello")
        await browser.frame_of("assistant_message")
        clock.advance(conf.request_timeout_seconds)
        assert (await browser.turn())[-1]["code"] == "upstream_timeout"
        _, stop = await agent.wait_requests(2)
    assert stop.method == "DELETE"


async def test_the_end_of_the_process_waits_for_a_stop(v1, agent, foreign):
    from relay.process import lifecycle

    go_on = asyncio.Event()
    agent.on(
        lambda content: True,
        lambda request: [RUN, TOKEN, Stall()] if request.method == "POST" else [Wait(go_on), Status(200)],
    )
    async with v1() as browser:
        await browser.say("hello")
        await browser.frame_of("assistant_message")
        stopping = asyncio.create_task(lifecycle.stop())
        await agent.wait_requests(2)
        assert not stopping.done()
        go_on.set()
        await stopping
    assert len(agent.disconnects) == 1  # the turn's; the stop was answered


@pytest.mark.parametrize("answer", [[Stall()], None], ids=["silent", "gone"])
async def test_a_stop_that_fails_is_logged_and_hurts_nothing(v1, agent, foreign, monkeypatch, caplog, answer):
    monkeypatch.setattr("relay.agent.client.STOP_SECONDS", 0.1)
    from relay.process import lifecycle

    agent.on(lambda content: True, lambda request: [RUN, TOKEN, Stall()] if request.method == "POST" else answer)
    async with v1() as browser:
        await browser.say("hello")
        await browser.frame_of("assistant_message")
        if answer is None:
            agent.refuse()
        await browser.cancel()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        await (await lifecycle.current()).agent.close()
    assert "agent not stopped" in caplog.text


async def test_an_event_of_our_own_protocol_means_nothing_to_another(v1, foreign):
    foreign(Send(b"data: " + json.dumps({"type": "assistant_message"}).encode() + b"\n\n"), END)
    async with v1() as browser:
        await browser.say("hello")
        assert (await browser.turn())[-2]["token"] == '{"type": "assistant_message"}'
