"""The scripted agent is itself held to the contract: what it says conforms, and what it breaks is really broken."""

import asyncio
import contextlib
import json
import re
import sys

import httpx
import pytest

from relay.protocol.event_stream import EventStreamDecoder
from tests.processes import ROOT
from tests.scripted_agent import (
    PATH,
    BadChunk,
    Break,
    CloseWhenReused,
    ContentType,
    Drop,
    EndlessHeaders,
    Event,
    Final,
    Head,
    Raw,
    Reset,
    ScriptedAgent,
    Send,
    SplitBytes,
    Stall,
    Status,
    Token,
    Wait,
)
from tests.scripted_agent.scripts import FIXED, SCRIPTS

LIMIT_SECONDS = 60


def message(content):
    return {"session_id": "s1", "type": "user_message", "content": content}


def request_bytes(content="hi", headers=""):
    body = json.dumps(message(content)).encode()
    return f"POST {PATH} HTTP/1.1\r\nHost: agent\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def events_of(body):
    return [json.loads(event.data) for event in EventStreamDecoder(10_000_000).feed(body)]


def text_of(events):
    return "".join(event["token"] for event in events if event["type"] == "assistant_message")


@contextlib.asynccontextmanager
async def connection(agent, content="hi", headers=""):
    """A client without any knowledge of HTTP, after it has sent one message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(agent.url.rpartition(":")[2]))
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            writer.write(request_bytes(content, headers))
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(agent, content="hi"):
    async with httpx.AsyncClient(base_url=agent.url, trust_env=False, timeout=LIMIT_SECONDS) as client:
        return await client.post(PATH, json=message(content))


async def received(agent, script, content="hi"):
    """Every byte up to the end of the connection, and whether it ended in a reset."""
    agent.script = script
    pieces = []
    async with connection(agent, content, "Connection: close\r\n") as (reader, _):
        try:
            while piece := await reader.read(65_536):
                pieces.append(piece)
        except ConnectionResetError:
            return b"".join(pieces), "reset"
    return b"".join(pieces), "end"


# What conforms.


@pytest.mark.parametrize("content", ["", "hi", "a big  world ", "größer 🙂"])
async def test_default_script_echoes_word_by_word_then_final(content):
    async with ScriptedAgent() as agent:
        response = await ask(agent, content)
    events = events_of(response.content)
    assert response.headers["content-type"] == "text/event-stream"
    assert events[0]["token"] == ""
    assert text_of(events) == content
    assert [event["is_final"] for event in events] == [False] * (len(events) - 1) + [True]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("script:tokens 3", "0 1 2 "),
        ("script:tokens 2 delay=0.001", "0 1 "),
        ("script:tokens 0", ""),
        ("script:distinct 3 s7", "s7-0 s7-1 s7-2 "),
        ("script:final-token", "a b"),
        ("script:final-only", ""),
        ("script:finish length", "a "),
        ("script:split 1", "größer €5 🙂"),
        ("script:split 7", "größer €5 🙂"),
        ("script:crlf", "a b"),
        ("script:cr", "a b"),
        ("script:bom", "a "),
        ("script:comments", "a b"),
        ("script:line-separators", "a\u2028b\x85c"),
        ("script:multi-line", "a "),
        ("script:surrogates", "\ud83d\ude42"),
        ("script:typed", "a b"),
        ("script:reserved", "a b"),
        ("script:extra-fields", "a "),
        ("script:wait 0.001", "a b"),
        ("script:big-event 5000", "x" * 5_000),
        ("script:big-answer 3", "x" * 3_000),
    ],
)
async def test_conforming_script_decodes_to_its_events(content, text):
    async with ScriptedAgent() as agent:
        response = await ask(agent, content)
    events = events_of(response.content)
    assert text_of(events) == text
    assert [event.get("is_final") for event in events].count(True) == 1
    assert events[-1]["is_final"]


async def test_named_scripts_say_what_their_names_say():
    async with ScriptedAgent() as agent:
        assert events_of((await ask(agent, "script:finish length")).content)[-1]["finish_reason"] == "length"
        assert events_of((await ask(agent, "script:tokens 1 finish=tool")).content)[-1]["finish_reason"] == "tool"
        error = events_of((await ask(agent, "script:error it went wrong")).content)[-1]
        assert error == {"type": "error", "content": "it went wrong"}
        assert len(events_of((await ask(agent, "script:eof")).content)) == 2
        assert (await ask(agent, "script:empty")).content == b""
        assert (await ask(agent, "script:content-type text/html")).headers["content-type"] == "text/html"
        refused = await ask(agent, "script:status 503 retry-after=7")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "7")
        assert (await ask(agent, "script:status 302 location=/elsewhere")).headers["location"] == "/elsewhere"


@pytest.mark.parametrize(
    "content", ["script:", "script:unknown", "script:tokens", "script:tokens x", "script:status 5O3"]
)
async def test_wrong_script_is_refused_with_words(content):
    async with ScriptedAgent() as agent:
        response = await ask(agent, content)
    assert response.status_code == 400
    assert "is no script" in response.text


ARGUMENTS = {
    "tokens": "2",
    "distinct": "2 s1",
    "kept": "2 s1",
    "status": "500",
    "content-type": "text/html",
    "finish": "length",
}
ARGUMENTS |= {
    "wait": "0.001",
    "split": "3",
    "big-event": "10",
    "big-answer": "2",
    "ask": "c1",
    "error": "no",
    "burst": "2",
    "stamps": "2 delay=0",
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_every_named_script_plays_until_it_ends_or_its_client_leaves(name):
    async with ScriptedAgent() as agent, connection(agent, f"script:{name} {ARGUMENTS.get(name, '')}") as (reader, _):
        await agent.wait_requests(1)
        stays_silent = name in ("stall-first-byte", "drop", "reset-first")
        with contextlib.suppress(ConnectionResetError):
            if not stays_silent:
                assert await reader.read(1)


@pytest.mark.parametrize("name", [name for name, steps in FIXED.items() if Stall() in steps])
async def test_stalling_script_waits_for_its_client_to_leave(name):
    async with ScriptedAgent() as agent:
        async with connection(agent, f"script:{name}"):
            await agent.wait_requests(1)
            assert agent.disconnects == []
        await agent.wait_disconnected(1)


# Scripts as data.


async def test_steps_of_a_list_are_sent_in_order():
    async with ScriptedAgent() as agent:
        agent.script = [Token("a"), Event({"type": "x", "n": 1}), Send(b": c\n\n"), Final("length", token="b")]
        response = await ask(agent)
    assert events_of(response.content) == [
        {"type": "assistant_message", "token": "a", "is_final": False},
        {"type": "x", "n": 1},
        {"type": "assistant_message", "token": "b", "is_final": True, "finish_reason": "length"},
    ]
    assert b": c\n\n" in response.content


async def test_script_may_be_a_function_or_an_async_generator_of_the_request():
    async def slowly(request):
        yield Token(f"slowly {request.content}")
        yield Final()

    async with ScriptedAgent() as agent:
        agent.script = lambda request: [Token(request.content.upper()), Final()]
        assert text_of(events_of((await ask(agent, "hi")).content)) == "HI"
        agent.script = slowly
        assert text_of(events_of((await ask(agent, "hi")).content)) == "slowly hi"


async def test_newest_rule_wins_then_the_script_then_the_message():
    async with ScriptedAgent() as agent:
        agent.on("a", [Token("first"), Final()])
        agent.on(lambda content: content.startswith("a"), [Token("second"), Final()])
        agent.on("b", [Token("third"), Final()])
        assert [text_of(events_of((await ask(agent, said)).content)) for said in "abc"] == ["second", "third", "c"]
        agent.script = [Token("script"), Final()]
        assert [text_of(events_of((await ask(agent, said)).content)) for said in "abc"] == ["second", "third", "script"]


async def test_wait_for_an_event_holds_the_answer_back():
    go = asyncio.Event()
    async with ScriptedAgent() as agent:
        agent.script = [Token("a"), Wait(go), Final()]
        async with connection(agent) as (reader, _):
            await reader.readuntil(b'"a"')
            go.set()
            await reader.readuntil(b"0\r\n\r\n")


async def test_split_bytes_makes_each_piece_a_chunk():
    async with ScriptedAgent() as agent:
        body, _ = await received(agent, [SplitBytes(2), Send(b"abcde")])
    assert body.endswith(b"\r\n\r\n2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n")


# What is broken.


@pytest.mark.parametrize(
    ("script", "tail", "ending"),
    [
        pytest.param([Token("a"), Break()], b'3e8\r\ndata: {"type":"assistant_mess', "end", id="Break"),
        pytest.param([Head(), BadChunk()], b"\r\n\r\nno number\r\n0\r\n\r\n", "end", id="BadChunk"),
        pytest.param([Drop()], b"", "end", id="Drop first"),
        pytest.param([Token("a"), Drop()], b"\n\n\r\n", "end", id="Drop"),
        pytest.param([Reset()], b"", "reset", id="Reset first"),
        pytest.param([Token("a"), Reset()], b"\n\n\r\n", "reset", id="Reset"),
        pytest.param([Raw(b"no HTTP"), Drop()], b"no HTTP", "end", id="Raw"),
        pytest.param(
            [ContentType("text/html"), Head(), Drop()],
            b"text/html\r\nTransfer-Encoding: chunked\r\n\r\n",
            "end",
            id="Head",
        ),
        pytest.param([], b"\r\n\r\n0\r\n\r\n", "end", id="nothing"),
        pytest.param([Status(204, {"X-A": "b"}, b"")], b"X-A: b\r\nContent-Length: 0\r\n\r\n", "end", id="Status"),
        pytest.param([Status(500, body=b"no"), Token("a")], b"\r\n\r\nno", "end", id="nothing follows Status"),
    ],
)
async def test_broken_answer_is_broken_as_it_says(script, tail, ending):
    async with ScriptedAgent() as agent:
        body, how = await received(agent, script)
        assert agent.disconnects == []
    assert body.endswith(tail)
    assert bool(body) == bool(tail)
    assert how == ending


async def test_endless_headers_end_when_the_client_leaves():
    async with ScriptedAgent() as agent:
        agent.script = [EndlessHeaders()]
        async with connection(agent) as (reader, _):
            head = await reader.readexactly(500_000)
        await agent.wait_disconnected(1)
    assert b"\r\n\r\n" not in head


async def test_endless_answer_to_a_client_that_does_not_read_ends_when_it_leaves():
    async with ScriptedAgent() as agent:
        async with connection(agent, "script:endless-line"):
            await agent.wait_requests(1)
        await agent.wait_disconnected(1)


async def test_agent_stops_although_a_client_does_not_read():
    written = asyncio.Event()

    async def flood(request):
        written.set()  # whoever waits for it runs when the next step has been written
        yield Send(b"x" * 50_000_000)

    agent = await ScriptedAgent().__aenter__()
    agent.script = flood
    async with connection(agent):
        await written.wait()
        async with asyncio.timeout(LIMIT_SECONDS):
            await agent.__aexit__()


# Connections.


async def test_connection_is_kept_alive_and_each_request_recorded():
    async with ScriptedAgent() as agent, connection(agent, "one", "X-A: 1\r\nx-a: 2\r\n") as (reader, writer):
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(request_bytes("two"))
        await reader.readuntil(b"0\r\n\r\n")
        first, second = agent.requests
    assert (first.method, first.path, first.content, first.json) == ("POST", PATH, "one", message("one"))
    assert first.headers["x-a"] == "2"
    assert [pair for pair in first.raw_headers if pair[0].lower() == "x-a"] == [("X-A", "1"), ("x-a", "2")]
    assert second.content == "two"


async def test_connection_closes_after_the_answer_when_asked_to():
    async with ScriptedAgent() as agent, connection(agent, "one", "Connection: close\r\n") as (reader, _):
        assert (await reader.read()).endswith(b"0\r\n\r\n")


async def test_close_when_reused_takes_the_next_request_and_answers_nothing():
    async with ScriptedAgent() as agent, connection(agent, "script:close-when-reused") as (reader, writer):
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(request_bytes("two"))
        assert await reader.read() == b""
        assert [request.content for request in agent.requests] == ["script:close-when-reused", "two"]
    async with ScriptedAgent() as agent:
        agent.script = [CloseWhenReused(), Final()]
        assert (await ask(agent)).status_code == 200


async def test_client_that_leaves_is_noticed_though_nothing_is_sent_to_it():
    async with ScriptedAgent() as agent:
        agent.script = [Token("a"), Stall()]
        async with connection(agent, "bye") as (reader, writer):
            await reader.readuntil(b'"a"')
            writer.close()
            assert [request.content for request in await agent.wait_disconnected(1)] == ["bye"]


async def test_client_that_leaves_after_the_answer_is_no_disconnect():
    async with ScriptedAgent() as agent:
        await ask(agent, "one")
        await ask(agent, "two")
        assert agent.disconnects == []


async def test_wait_that_is_not_met_ends_with_its_limit():
    async with ScriptedAgent() as agent:
        with pytest.raises(TimeoutError):
            await agent.wait_disconnected(1, timeout_seconds=0.01)
        with pytest.raises(TimeoutError):
            await agent.wait_requests(1, timeout_seconds=0.01)


async def test_refused_connections_are_taken_again_on_the_same_port():
    async with ScriptedAgent() as agent:
        url = agent.url
        agent.refuse()
        with pytest.raises(httpx.ConnectError):
            await ask(agent)
        await agent.listen()
        assert agent.url == url
        assert (await ask(agent)).status_code == 200


async def test_failing_script_fails_the_test():
    def fail(request):
        raise RuntimeError("a bug in the test")

    agent = await ScriptedAgent().__aenter__()
    agent.script = fail
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(agent)
    with pytest.raises(ExceptionGroup, match="scripted agent failed"):
        await agent.__aexit__()


async def test_other_paths_are_recorded_but_not_answered():
    async with ScriptedAgent() as agent:
        async with httpx.AsyncClient(base_url=agent.url, trust_env=False, timeout=LIMIT_SECONDS) as client:
            assert (await client.get("/health")).status_code == 200
            assert (await client.post("/elsewhere", json=message("hi"))).status_code == 404
        assert [request.path for request in agent.requests] == ["/elsewhere"]


async def test_process_says_where_it_listens_plays_scripts_and_tells_its_requests():
    command = [sys.executable, "-m", "tests.scripted_agent", "--port", "0"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            line = (await process.stdout.readline()).decode()
        url = re.search(r"http://\S+", line).group()
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=LIMIT_SECONDS) as client:
            response = await client.post(PATH, json=message("script:tokens 2"))
            assert text_of(events_of(response.content)) == "0 1 "
            told = (await client.get("/requests")).json()
        assert [request["json"]["content"] for request in told["requests"]] == ["script:tokens 2"]
        assert told["disconnects"] == 0
    finally:
        process.kill()
        await process.wait()
