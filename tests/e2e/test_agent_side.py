"""What the agent may do, row by row, and what the browser sees of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests import processes, scraping
from tests.certificates import certificate
from tests.clients import LIMIT_SECONDS, V1, SocketClient, text_of
from tests.scripted_agent import ScriptedAgent
from tests.tcp_server import TcpServer

FINAL = {"type": "assistant_message", "token": "", "is_final": True}

ANSWERS = {
    "tokens 3": ["", "0 ", "1 ", "2 "],
    "final-token": ["a ", "b"],
    "final-only": [],
    "after-final": ["a "],
    "one-read": ["a ", "b ", "c "],
    "done": ["a "],
    "done-after-final": ["a "],
    "extra-fields": ["a "],
    "reserved": ["a ", "b"],
    "comments": ["a ", "b"],
    "garbage": ["a ", "b"],
    "done-name": ["a "],
    "final-content": ["a "],
    "line-separators": ["a\u2028b\x85c"],
    "multi-line": ["a "],
    "crlf": ["a ", "b"],
    "cr": ["a ", "b"],
    "bom": ["a "],
    "split 1": ["größer €5 \U0001f642"],
    "split 3": ["größer €5 \U0001f642"],
    "content-type text/event-stream; charset=utf-8": ["a "],
    "big-event 65000": ["x" * 65_000],
    "close-when-reused": ["a "],
}

ERRORS = {
    "error the tool failed": ("upstream_error", "the tool failed", "a "),
    "error": ("upstream_error", "The agent could not answer this message.", "a "),
    "error-null": ("upstream_error", "could not answer", "a "),
    "error-object": ("upstream_error", "no quota", "a "),
    "error-name": ("upstream_error", "LLM failed", "a "),
    "error-untyped": ("upstream_error", "LLM failed", "a "),
    "not-understood": ("upstream_protocol", "understood", ""),
    "eof": ("upstream_eof", "was cut off", "a b"),
    "eof-in-event": ("upstream_eof", "was cut off", "a "),
    "empty": ("upstream_eof", "was cut off", ""),
    "break": ("upstream_eof", "was cut off", "a "),
    "reset": ("upstream_eof", "was cut off", "a "),
    "drop": ("upstream_eof", "was cut off", ""),
    "reset-first": ("upstream_eof", "was cut off", ""),
    "status 400": ("upstream_error", "could not answer", ""),
    "status 401": ("upstream_error", "could not answer", ""),
    "status 500": ("upstream_error", "could not answer", ""),
    "status 302 Location=http://127.0.0.1:9/": ("upstream_error", "could not answer", ""),
    "status 307 Location=/health": ("upstream_error", "could not answer", ""),
    "status 429 Retry-After=7": ("upstream_unavailable", "is unavailable", ""),
    "status 502": ("upstream_unavailable", "is unavailable", ""),
    "status 503 Retry-After=7": ("upstream_unavailable", "is unavailable", ""),
    "status 504": ("upstream_unavailable", "is unavailable", ""),
    "content-type application/json": ("upstream_protocol", "event stream", ""),
    "content-type text/html; x=text/event-stream": ("upstream_protocol", "event stream", ""),
    "big-event 66000": ("upstream_protocol", "too large", ""),
    "endless-line": ("upstream_protocol", "too large", ""),
    "big-answer 1100": ("upstream_protocol", "too long", None),
    "status 204": ("upstream_protocol", "event stream", ""),  # with a body, which HTTP forbids
    "not-http": ("upstream_protocol", "HTTP", ""),
    "endless-headers": ("upstream_protocol", "HTTP", ""),
}

SILENCE_SECONDS = 6  # below the whole answer that is never silent so long; above what a busy machine adds to a pause
SILENCES = {
    "stall": "a ",
    "stall-after-head": "",
    "stall-first-byte": "",
    "stall-in-event": "a ",
    "stall-after-comment": "a ",
}

RETRY_AFTER_MS = {"status 429 Retry-After=7": 7_000, "status 503 Retry-After=7": 7_000}
TEMPORARY = {"upstream_unavailable", "upstream_timeout"}


def session_for(script: str) -> str:
    return "e-" + re.sub(r"[^a-z0-9]", "-", script.lower())


@pytest.mark.parametrize(("script", "tokens"), ANSWERS.items(), ids=ANSWERS)
async def test_agent_that_answers(plain, script, tokens):
    async with plain(session_for(script)) as browser:
        await browser.say(f"script:{script}")
        frames = await browser.turn()
        assert [frame["token"] for frame in frames[:-1]] == tokens
        assert frames[-1] == FINAL
        assert await browser.ask("next works") == "next works"


@pytest.mark.parametrize(("script", "expected"), ERRORS.items(), ids=ERRORS)
async def test_agent_that_fails(plain, v1, script, expected):
    """One error in words, nothing leaked; the text so far stays; the next message works."""
    async with plain(session_for(script)) as browser, v1(session_for(script)) as resumable:
        await assert_fails(browser, resumable, script, expected)


async def assert_fails(browser, resumable, script, expected):
    code, words, so_far = expected
    await browser.say(f"script:{script}")
    *tokens, error = await browser.turn()
    assert set(error) == {"type", "content"}
    assert words in error["content"]
    assert so_far is None or text_of(tokens) == so_far
    *_, v1_error = await resumable.turn()
    assert (v1_error["code"], v1_error["content"]) == (code, error["content"])
    assert ("retry_after_ms" in v1_error) == (code in TEMPORARY)
    if script in RETRY_AFTER_MS:
        assert v1_error["retry_after_ms"] == RETRY_AFTER_MS[script]
    assert not re.search(r"127\.0\.0\.1|http:|test-internal-key|Traceback|\.py", error["content"])
    assert await browser.ask("next works") == "next works"


@pytest.fixture
def impatient(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway that gives a silent agent up soon."""
    with processes.gateway(server, scripted_agent.http_url, REQUEST_TIMEOUT=str(SILENCE_SECONDS)) as gateway:
        yield gateway


async def test_agent_is_given_up_for_its_silence_and_not_for_a_long_answer(impatient, asked, server):
    """All at once, for each takes the time-out. Nobody is asked twice."""

    async def fall_silent(script, so_far):
        session_id = f"{session_for(script)}-{server}"
        url = f"{impatient.ws_url}/ws/{session_id}/"
        async with SocketClient(url) as browser, SocketClient(url, [V1]) as resumable:
            words = f"stopped responding ({SILENCE_SECONDS} s)"
            await assert_fails(browser, resumable, script, ("upstream_timeout", words, so_far))
        assert [request["json"]["content"] for request in asked(session_id)] == [f"script:{script}", "next works"]

    async def answer_slowly():
        async with SocketClient(f"{impatient.ws_url}/ws/e-long/") as browser:
            await browser.say("script:tokens 14 delay=0.5")
            assert await browser.answer() == "".join(f"{number} " for number in range(14))

    async def answer_after_interim_responses():
        async with SocketClient(f"{impatient.ws_url}/ws/e-interim/") as browser:
            await browser.say("script:interim 14 delay=0.5")
            assert await browser.answer() == "a "

    await asyncio.gather(
        answer_slowly(), answer_after_interim_responses(), *(fall_silent(*row) for row in SILENCES.items())
    )


async def test_broken_chunk_size_ends_the_turn_at_the_latest_by_silence(v1):
    async with v1("e-bad-chunk") as browser:
        await browser.say("script:bad-chunk")
        *tokens, error = await browser.turn()
        assert error["code"] in ("upstream_eof", "upstream_timeout")
        assert text_of(tokens) == "a "


async def test_broken_chunk_size_that_comes_with_the_head_is_a_broken_stream(v1):
    async with v1("e-bad-first-chunk") as browser:
        await browser.say("script:bad-first-chunk")
        assert (await browser.turn())[-1]["code"] == "upstream_eof"


async def test_other_events_pass_in_order_without_their_own_turn_and_offset(plain, v1):
    async with plain("e-typed") as browser, v1("e-typed") as resumable:
        await browser.say("script:typed")
        frames = await browser.turn()
        assert frames[1] == {"type": "tool_call", "name": "clock"}
        assert frames[2] == {"type": "agent_switched", "agent": "colleague", "nested": {"offset": 1}}
        seen = await resumable.turn()
        assert seen[-1]["offset"] == seen[-2]["offset"] + 1
        assert {frame["turn_id"] for frame in seen if frame["type"] not in ("welcome", "accepted")} != {"its own"}


@pytest.mark.parametrize("script", ["event-final", "tool-call-last"])
async def test_tool_call_that_ends_the_answer_is_an_event_and_then_the_end(plain, v1, script):
    async with plain(session_for(script)) as browser, v1(session_for(script)) as resumable:
        await browser.say(f"script:{script}")
        *_, called, end = await browser.turn()
        assert (called, end) == ({"type": "tool_call", "name": "clock"}, FINAL)
        *_, called, end = await resumable.turn()
        assert "is_final" not in called
        assert end["finish_reason"] == "tool_calls"


async def test_number_that_json_has_not_costs_only_itself(plain):
    async with plain("e-odd-numbers") as browser:
        await browser.say("script:odd-numbers")
        assert {"type": "x", "number": None, "big": None, "small": 1} in await browser.turn()


async def test_events_left_out_are_told_once_a_cause_to_resumable_clients(v1):
    async with v1("e-notices") as browser:
        await browser.say("script:garbage")
        notices = [frame for frame in await browser.turn() if frame["type"] == "notice"]
        assert [notice["code"] for notice in notices] == ["upstream_event_skipped"]
        await browser.say("script:reserved")
        notices = [frame for frame in await browser.turn() if frame["type"] == "notice"]
        assert len(notices) == 1
        assert notices[0]["turn_id"]


async def test_finish_reason_of_the_agent_reaches_resumable_clients(v1):
    async with v1("e-finish") as browser:
        await browser.say("script:finish length")
        assert (await browser.turn())[-1]["finish_reason"] == "length"
        await browser.say("script:tokens 1")
        assert (await browser.turn())[-1]["finish_reason"] == "stop"


async def test_message_is_never_sent_twice(plain, asked, server):
    session_id = f"e-once-{server}"
    for script in ("drop", "reset-first", "reset", "status 503"):
        async with plain(session_id) as browser:
            await browser.say(f"script:{script}")
            await browser.error()
    assert [request["json"]["content"] for request in asked(session_id)] == [
        "script:drop", "script:reset-first", "script:reset", "script:status 503",
    ]  # fmt: skip


async def test_refused_connection_is_tried_again_until_the_agent_is_back(server):
    """The agent restarts: the first try is refused, a later one is answered.

    If the agent is not back in the two seconds in which a gateway tries, because the machine stands still, it restarts
    once more.
    """
    port = processes.free_port()
    with processes.gateway(server, f"http://127.0.0.1:{port}") as gateway:

        def refused():
            return scraping.scrape(gateway.http_url)['gateway_upstream_requests_total{status="refused"}']

        async def answer_to_a_message_that_was_refused_first(browser):
            before = refused()
            await browser.say("again")
            while refused() == before:
                await asyncio.sleep(0.01)
            async with ScriptedAgent(port):
                return await browser.turn()

        async with SocketClient(f"{gateway.ws_url}/ws/s/", [V1]) as browser:
            await browser.say("hello")
            frames = await browser.turn()
            assert frames[-1]["code"] == "upstream_unavailable"
            async with asyncio.timeout(LIMIT_SECONDS):
                while frames[-1].get("code") == "upstream_unavailable":
                    frames = await answer_to_a_message_that_was_refused_first(browser)
            assert text_of(frames) == "again"


async def test_certificate_that_is_not_trusted_is_told_apart_and_not_tried_again(server, tmp_path):
    tls = certificate(tmp_path / "shown.pem")
    async with TcpServer(tls=tls) as agent:
        with processes.gateway(server, f"https://localhost:{agent.port}") as gateway:
            async with SocketClient(f"{gateway.ws_url}/ws/s/", [V1]) as browser:
                await browser.say("hello")
                error = (await browser.turn())[-1]
            counted = scraping.scrape(gateway.http_url)
            gateway.stop()  # a client may see the end of a turn before its line is written
            log = gateway.output()
    assert error["code"] == "upstream_unavailable"
    assert "certificate" not in error["content"]
    assert counted['gateway_upstream_requests_total{status="tls"}'] == 1
    assert log.count("its certificate is self-signed, which is not trusted here") == 1
