"""What the runner hands over at a turn's end, whoever ends it."""

from __future__ import annotations

import pytest

from relay.process import lifecycle
from relay.protocol import frames
from relay.transcripts.writer import Transcripts
from tests.api.conftest import abandon
from tests.scraping import here
from tests.scripted_agent import Break, Event, Final, Stall, Status, Token
from tests.tcp_server import TcpServer


@pytest.fixture
def kept(application, monkeypatch):
    """The turns that were handed over."""
    turns = []
    monkeypatch.setattr(Transcripts, "is_on", True)
    monkeypatch.setattr(Transcripts, "_ask", _nothing)
    monkeypatch.setattr(Transcripts, "keep", lambda self, turn: turns.append(turn))
    return turns


@pytest.fixture
def small_log(configure):
    configure(BUFFER_SIZE="16")


async def _nothing(self, do, otherwise):
    return otherwise


async def test_answered_turn_is_handed_over_with_its_text_and_times(v1, agent, kept):
    agent.script = [Token(""), Token('a "b'), Token(" \ud83d"), Token("\ude00"), Final()]
    async with v1() as browser:
        await browser.say("What?", client_message_id="m")
        frames = await browser.turn()
    [turn] = kept
    assert turn.turn_id == frames[-1]["turn_id"]
    assert (turn.session_id, turn.subject, turn.reason, turn.tokens) == ("s", None, "answered", 3)
    assert turn.answer == r"a \"b \ud83d\ude00"
    assert turn.message == {"type": "user_message", "content": "What?"}
    assert 0 < turn.first_token_seconds <= turn.duration_seconds
    assert turn.started_at < turn.ended_at


async def test_cancelled_turn_keeps_what_was_said(v1, agent, kept):
    agent.script = [Token("so far"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        await browser.turn()
    assert [(turn.reason, turn.answer) for turn in kept] == [("cancelled", "so far")]


async def test_failed_turn_is_handed_over_with_the_code_of_its_error(v1, agent, kept):
    agent.script = [Token("so far")]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.reason, turn.answer) for turn in kept] == [("upstream_eof", "so far")]


PAGE = b"<html>login</html>"
REFUSALS = {
    "words in JSON": (
        Status(401, {"Content-Type": "application/json"}, b'{"error":{"message":"Wrong key test-internal-key!"}}'),
        (401, "Wrong key [removed]!"),
    ),
    "a page": (Status(404, {"Content-Type": "text/html"}, PAGE), (404, "<html>login</html>")),
    "much": (Status(500, body=b"x" * 5_000), (500, "x" * 200)),
    "no words": (Status(500, body=b""), (500, "The agent could not answer this message.")),
    "no event stream": (Status(200, {"Content-Type": "text/html"}, PAGE), (200, "<html>login</html>")),
    "busy": (Status(503, body=b"later"), (503, "later")),
}


@pytest.mark.parametrize(("refusal", "known"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_turn_is_handed_over_with_status_and_words(v1, agent, kept, caplog, refusal, known):
    """The client hears a sentence; the operator the agent's own words."""
    agent.script = [refusal]
    async with v1() as browser:
        await browser.say("x")
        error = (await browser.turn())[-1]
    assert [(turn.upstream_status, turn.error) for turn in kept] == [known]
    (line,) = [record for record in caplog.records if record.getMessage().startswith("turn ended")]
    assert (line.upstream_status, line.error) == known
    assert line.upstream_content_type == refusal.headers.get("Content-Type", "text/plain")
    assert known[1] not in error["content"] or known[1].startswith("The agent could not")


async def test_the_words_of_an_error_event_are_the_reason(v1, agent, kept):
    agent.script = [Token("a"), Event({"type": "error", "content": "The model is overloaded."})]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.upstream_status, turn.error) for turn in kept] == [(200, "The model is overloaded.")]


async def test_a_broken_connection_is_named(v1, agent, kept):
    agent.script = [Token("a"), Break()]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    ((status, error),) = [(turn.upstream_status, turn.error) for turn in kept]
    assert status == 200
    assert error.endswith("(the connection broke off)")


@pytest.mark.parametrize("status", [200, 500])
async def test_a_compressed_body_is_named_and_its_bytes_are_no_words(v1, agent, kept, status):
    agent.script = [Status(status, {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}, b"\x1f\x8babc")]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    ((seen, error),) = [(turn.upstream_status, turn.error) for turn in kept]
    assert seen == status
    assert error.endswith("(its body is compressed, although the request did not allow it)")
    assert "abc" not in error


async def test_a_key_in_a_content_type_is_not_logged(v1, agent, kept, caplog):
    agent.script = [Status(500, {"Content-Type": "text/plain; key=test-internal-key"})]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    (line,) = [record for record in caplog.records if record.getMessage().startswith("turn ended")]
    assert line.upstream_content_type == "text/plain; key=[removed]"


async def test_a_key_in_a_head_that_is_no_http_is_not_kept(v1, kept, configure):
    """The parser's error quotes the line."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nNo header with test-internal-key at 10.0.0.8\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with TcpServer(answer) as server:
        configure(AGENT_URL=server.url)
        async with v1() as browser:
            await browser.say("x")
            await browser.turn()
    ((status, error),) = [(turn.upstream_status, turn.error) for turn in kept]
    assert status is None
    assert "No header with [removed] at [removed]" in error


async def test_a_turn_that_does_not_fail_has_no_reason(v1, agent, kept):
    agent.script = [Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.upstream_status, turn.error) for turn in kept] == [(None, "")]


@pytest.mark.parametrize("end", [[Final()], [Event({"type": "error"})], [Stall()]], ids=["end", "error", "cancelled"])
async def test_the_agents_usage_is_added_up_however_the_turn_ends(v1, agent, kept, end):
    first, second = {"input_tokens": 5, "output_tokens": 2}, {"input_tokens": 7, "total_tokens": 9}
    agent.script = [Event({"type": "usage", **first}), Event({"type": "usage", **second}), Token("a"), *end]
    before = here()
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        if end == [Stall()]:
            await browser.cancel()
        await browser.turn()
    assert [(turn.input_tokens, turn.output_tokens) for turn in kept] == [(12, 2)]
    counted = here().since(before)
    assert counted['gateway_usage_tokens_total{kind="input"}'] == 12
    assert counted['gateway_usage_tokens_total{kind="output"}'] == 2


async def test_usage_that_no_event_reports_is_not_known(v1, agent, kept):
    agent.script = [Token("a"), Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.input_tokens, turn.output_tokens) for turn in kept] == [(None, None)]


async def test_turn_without_text_has_no_time_to_first_token(v1, agent, kept):
    agent.script = [Token(""), Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.turn()
    assert [(turn.first_token_seconds, turn.answer) for turn in kept] == [(None, "")]


async def test_shutdown_hands_over_running_and_queued_turns(v1, agent, kept):
    agent.script = [Token("so far"), Stall()]
    async with v1() as browser:
        await browser.say("running")
        await browser.frame_of("assistant_message")
        await browser.say("queued")
        await browser.frame_of("accepted")
        await lifecycle.stop()
    assert [(turn.message["content"], turn.reason, turn.answer) for turn in kept] == [
        ("running", "shutting_down", "so far"),
        ("queued", "shutting_down", ""),
    ]


async def test_turn_of_a_worker_that_died_is_handed_over_with_its_text(v1, agent, kept, sweeping):
    async with v1() as browser:
        gateway = await lifecycle.current()
        gateway.runner.wake = lambda session_id: None
        await browser.say("What?")
        await browser.frame_of("accepted")
        turn = await gateway.layer.claim("s", "a worker that dies")
        call = frames.event(turn.turn_id, {"type": "tool_call", "call_id": "c1"})
        await gateway.layer.append(turn, [frames.token(turn.turn_id, "so far"), call])
        abandon("s")
        del gateway.runner.wake
        await browser.frame_of("error")
    [ended] = kept
    assert (ended.reason, ended.answer, ended.message["content"]) == ("interrupted", "so far", "What?")
    assert ended.events == ((6, '{"type":"tool_call","call_id":"c1"}'),)
    assert (ended.tokens, ended.started_at, ended.first_token_seconds, ended.duration_seconds) == (None,) * 4


async def test_turn_of_a_worker_that_died_with_a_head_that_is_trimmed_is_handed_over_with_its_text(
    v1, kept, small_log, sweeping
):
    async with v1() as browser:
        gateway = await lifecycle.current()
        gateway.runner.wake = lambda session_id: None
        await browser.say("What?")
        await browser.frame_of("accepted")
        turn = await gateway.layer.claim("s", "a worker that dies")
        call = frames.event(turn.turn_id, {"type": "tool_call", "call_id": "c1"})
        await gateway.layer.append(turn, [*(frames.token(turn.turn_id, str(number)) for number in range(20)), call])
        abandon("s")
        del gateway.runner.wake
        await browser.frame_of("error")
    [ended] = kept
    assert (ended.answer, ended.events) == ("".join(map(str, range(20))), ())
