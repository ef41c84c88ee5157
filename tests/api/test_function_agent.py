"""A Python function as the agent: yields, errors, Stop, silence, limits; for plain clients and gateway.v1."""

import asyncio
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.utils.safestring import SafeString

from relay.agent.choice import make_agent
from relay.agent.client import AgentClient
from relay.agent.function import VALUES_AN_ITERATION, AgentError, FunctionAgent
from relay.layers.values import Turn
from relay.process import lifecycle
from relay.protocol.frames import FrameKind
from tests.clients import LIMIT_SECONDS, text_of

PATH = f"{__name__}.answer"
NO_WORDS = "The agent could not answer this message."

_script = None


async def answer(message, session):
    """Run the function that a test has set."""
    async for value in _script(message, session):
        yield value


class Callable:
    async def __call__(self, message, session):
        yield f"called with {message['content']}"


callable_object = Callable()


def plain_function(message, session):
    return "no generator"


async def coroutine_function(message, session):
    return "no generator"


@pytest.fixture
def function(application, settings, monkeypatch):
    """Let a function be the agent; its address is that of no server."""

    def use(script):
        monkeypatch.setattr(f"{__name__}._script", script)
        settings.GATEWAY = {**settings.GATEWAY, "AGENT_PROTOCOL": PATH, "AGENT_URL": "http://127.0.0.1:1"}

    return use


async def test_texts_are_tokens_and_objects_are_events(v1, plain, function):
    async def script(message, session):
        yield "Par"
        yield {"type": "tool_call", "call_id": "c", "tool_name": "search", "arguments": {}}
        yield "is."

    function(script)
    async with v1() as browser, plain() as old:
        await browser.say("capital of France?")
        frames = await browser.turn()
        assert [frame["type"] for frame in await old.turn()] == [frame["type"] for frame in frames[-4:]]
    assert text_of(frames) == "Paris."
    assert [frame["type"] for frame in frames[-4:]] == [
        "assistant_message",
        "tool_call",
        "assistant_message",
        "assistant_message",
    ]
    assert frames[-1]["finish_reason"] == "stop"
    assert frames[-3]["arguments"] == {}


async def test_it_gets_the_message_and_its_session(v1, function, configure):
    asked = []

    async def script(message, session):
        asked.append((message, session, [tuple(past) for past in await session.history()]))
        yield message.get("content", "result")

    function(script)
    configure(FORWARD_TYPES="tool_result", AGENT_HISTORY="2")
    async with v1() as browser:
        for content in ("one", "two", "three"):
            await browser.ask(content)
        await browser.send({"type": "tool_result", "call_id": "c"})
        turn_id = (await browser.turn())[-1]["turn_id"]
    assert asked[0][0] == {"type": "user_message", "content": "one"}
    assert (asked[0][1].session_id, asked[0][1].subject, asked[0][2]) == ("s", "", [])
    assert asked[3][0] == {"type": "tool_result", "call_id": "c"}
    assert asked[3][1].turn_id == turn_id
    assert asked[3][2] == [("two", "two"), ("three", "three")]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "stop"),
        ([{"type": "tool_call"}], "tool_calls"),
        (["a", {"type": "assistant_message", "is_final": True, "finish_reason": "length"}, "never"], "length"),
        ([{"type": "done", "is_final": True}, "never"], "stop"),
    ],
)
async def test_how_an_answer_ends(v1, function, values, reason):
    async def script(message, session):
        for value in values:
            yield value

    function(script)
    async with v1() as browser:
        await browser.say("x")
        frames = await browser.turn()
    assert frames[-1]["finish_reason"] == reason
    assert "never" not in text_of(frames)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AgentError("The model is asleep."), "The model is asleep."),
        (AgentError("It is at http://10.0.0.1:80/x."), "It is at [removed]"),
        (AgentError(""), NO_WORDS),
        (ValueError("a secret detail"), NO_WORDS),
    ],
)
async def test_an_exception_is_an_error_in_words_and_its_text_is_not_given_out(v1, function, caplog, error, words):
    async def script(message, session):
        yield "so far"
        raise error

    function(script)
    async with v1() as browser:
        await browser.say("x")
        *_, token, end = await browser.turn()
        assert (token["token"], end["type"], end["code"], end["content"]) == (
            "so far",
            "error",
            "upstream_error",
            words,
        )
        assert ("agent function failed" in caplog.text) == isinstance(error, ValueError)
        assert ("secret detail" in caplog.text) == isinstance(error, ValueError)


@pytest.mark.parametrize("value", [b"bytes", None, 5, ["a"], {"type": "x", "y": object()}])
async def test_a_value_that_is_neither_text_nor_object_is_an_error(v1, function, value):
    async def script(message, session):
        yield value

    function(script)
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["content"] == NO_WORDS


async def test_the_operator_reads_why_it_failed(v1, function, caplog):
    async def script(message, session):
        yield "a"
        raise LookupError("no such file at http://10.0.0.8/x")

    function(script)
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["content"] == NO_WORDS
    (line,) = [record for record in caplog.records if record.getMessage().startswith("turn ended")]
    assert line.error == f"{NO_WORDS} (LookupError: no such file at [removed])"


async def test_a_function_that_exits_ends_its_turn_only(v1, function):
    async def script(message, session):
        yield "a"
        if message["content"] == "exit":
            sys.exit(3)

    function(script)
    async with v1() as browser:
        await browser.say("exit")
        assert (await browser.turn())[-1]["code"] == "upstream_error"
        await browser.say("again")
        assert (await browser.turn())[-1]["is_final"]


async def test_a_message_that_it_changes_is_its_own():
    async def script(message, session):
        message["content"] = "changed"
        message["parts"].clear()
        yield "a"

    turn = Turn(session_id="s", turn_id="t", lease_id="l", message={"content": "one", "parts": [1]})
    assert [batch async for batch in FunctionAgent(script).ask(turn).batches()]
    assert turn.message == {"content": "one", "parts": [1]}


async def test_a_text_of_a_class_of_its_own_is_a_text(v1, function):
    async def script(message, session):
        yield SafeString("<b>")

    function(script)
    async with v1() as browser:
        await browser.say("x")
        assert text_of(await browser.turn()) == "<b>"


async def test_an_error_that_it_yields_is_one(v1, function):
    async def script(message, session):
        yield {"type": "error", "content": "words"}
        yield "never"

    function(script)
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["content"] == "words"


@pytest.mark.parametrize("dialect", ["plain", "v1"])
async def test_stop_closes_the_generator(request, function, dialect):
    told = []

    async def script(message, session):
        try:
            yield "a"
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            told.append("closed")

    function(script)
    async with request.getfixturevalue(dialect)() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        assert (await browser.turn())[-1]["is_final"]
        assert told == ["cancelled", "closed"]
        function(_echo)
        assert await browser.ask("again") == "again"


async def _echo(message, session):
    yield message["content"]


async def test_a_function_that_ignores_its_end_does_not_keep_the_turn(v1, function, monkeypatch, caplog):
    monkeypatch.setattr("relay.agent.function.CLOSE_SECONDS", 0.05)
    go_on, ended = asyncio.Event(), []

    async def script(message, session):
        yield "a"
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                ended.append("ignored")
        yield "late"

    function(script)
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        assert "agent function does not end" in caplog.text
        agent = (await lifecycle.current()).agent
        await agent.close()  # asks once more, and does not wait for ever
        assert ended == ["ignored", "ignored"]
        go_on.set()
        while agent._left:
            await asyncio.wait(list(agent._left), timeout=LIMIT_SECONDS)
        function(_echo)
        assert await browser.ask("again") == "again"  # and "late" came to no one


async def test_a_generator_that_yields_on_is_closed(v1, function, monkeypatch):
    seen = []

    async def script(message, session):
        try:
            while True:
                try:
                    yield "a"
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    seen.append("ignored")
        finally:
            seen.append("closed")

    function(script)
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await browser.cancel()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
    assert seen == ["ignored", "closed"]


async def test_a_function_that_cancels_itself_is_an_answer_that_broke_off(v1, function):
    async def script(message, session):
        yield "a"
        raise asyncio.CancelledError

    function(script)
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["code"] == "upstream_eof"


async def test_the_limit_of_silence_holds(v1, function, configure):
    async def script(message, session):
        yield "a"
        await asyncio.Event().wait()

    function(script)
    configure(REQUEST_TIMEOUT="0.1")
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["code"] == "upstream_timeout"


@pytest.mark.parametrize("value", ["é" * 1_024, {"type": "x", "y": "é" * 1_024}])
async def test_a_value_that_is_too_large_is_refused(v1, function, configure, value):
    async def script(message, session):
        yield value

    function(script)
    configure(MAX_EVENT_BYTES="2048")
    async with v1() as browser:
        await browser.say("x")
        end = (await browser.turn())[-1]
    assert (end["code"], end["content"]) == ("upstream_protocol", "The agent sent an event that is too large.")


async def test_an_answer_that_is_too_long_is_refused(v1, function, configure):
    async def script(message, session):
        while True:
            yield "x" * 100

    function(script)
    configure(MAX_TURN_BYTES="2048")
    async with v1() as browser:
        await browser.say("x")
        end = (await browser.turn())[-1]
    assert (end["code"], end["content"]) == ("upstream_protocol", "The agent's answer is too long.")


async def test_a_function_that_never_waits_lets_others_run(v1, function):
    others = []

    async def script(message, session):
        loop, done = asyncio.get_running_loop(), 0
        while len(others) < 3 and done < 1_000_000:
            loop.call_soon(others.append, done)
            yield ""
            done += 1

    function(script)
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["finish_reason"] == "stop"
    assert others


class Sink:
    """A ``FrameSink`` with moods."""

    def __init__(self, *moods):
        self.frames, self._moods = [], list(moods)

    def push(self, frames):
        if not self._moods.pop(0):
            return False
        self.frames += frames
        return True


@contextmanager
def no_progress(seen):
    before = list(seen)
    yield
    assert seen == before


async def test_what_the_sink_refuses_is_given_and_the_function_waits_until_it_is_taken():
    seen = []

    async def script(message, session):
        for number in range(3):
            seen.append(number)
            yield str(number)

    sink, turn = Sink(True, False, True), Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    batches = FunctionAgent(script).ask(turn).batches(sink)
    async with asyncio.timeout(LIMIT_SECONDS):
        (refused,) = await anext(batches)
        assert refused.token_text == "1"
        with no_progress(seen):
            for _ in range(10):
                await asyncio.sleep(0)
        (last,) = await anext(batches)
        assert last.kind is FrameKind.FINAL
        assert [frame.token_text for frame in sink.frames] == ["0", "2"]
        with pytest.raises(StopAsyncIteration):
            await anext(batches)


async def test_it_is_told_who_asks_and_has_no_history_where_none_is_kept():
    subjects = []

    async def script(message, session):
        subjects.append(session.subject)
        assert not await session.history()
        yield "a"

    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"}, subject="ann")
    async for _ in FunctionAgent(script).ask(turn).batches():
        pass
    assert subjects == ["ann"]


async def test_a_function_that_never_waits_gives_way_once_in_so_many_values():
    """Not for each value: an iteration of the event loop costs more than a token."""

    async def script(message, session):
        for _ in range(20 * VALUES_AN_ITERATION):
            yield "a"

    async def count():
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    iterations = 0
    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    counting = asyncio.create_task(count())
    async for _ in FunctionAgent(script).ask(turn).batches(SimpleNamespace(push=lambda frames: True)):
        pass
    counting.cancel()
    assert 20 <= iterations < 40


@pytest.mark.parametrize(("lease", "seconds"), [("3", 1.0), ("30", 2.0)])
def test_a_function_that_does_not_end_holds_a_turn_for_less_than_its_lease(settings, lease, seconds):
    settings.GATEWAY = {**settings.GATEWAY, "LEASE_SECONDS": lease}
    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    assert FunctionAgent(answer).ask(turn)._close_seconds == seconds


async def test_without_a_sink_every_frame_is_given():
    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    given = [frame.kind async for batch in FunctionAgent(_echo).ask(turn).batches() for frame in batch]
    assert given == [FrameKind.TOKEN, FrameKind.FINAL]


async def test_a_gateway_with_a_function_is_ready_without_an_agent_at_its_address(http, function):
    function(_echo)
    answer = await http.get("/ready")
    assert (answer.status, answer.json()["checks"]["agent"]["ok"]) == (200, True)


@pytest.mark.parametrize("path", [PATH, f"{__name__}.callable_object"])
def test_a_generator_function_and_an_object_that_is_called_as_one_are_agents(path):
    assert isinstance(make_agent(path), FunctionAgent)


def test_a_protocols_name_is_an_agent_over_http():
    assert isinstance(make_agent("agent"), AgentClient)


@pytest.mark.parametrize("name", ["plain_function", "coroutine_function", "Callable"])
def test_what_is_no_generator_function_is_refused(name):
    with pytest.raises(TypeError):
        make_agent(f"{__name__}.{name}")
