"""How turns end when it is not the agent who ends them."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import nullcontext

import pytest

from relay.agent.client import AgentClient
from relay.agent.protocols.agent import OwnAgent
from relay.exceptions import StoreUnavailable, UpstreamProtocol
from relay.layers.values import Turn
from relay.process import lifecycle
from relay.protocol.frames import FrameKind
from relay.turns import runner
from relay.turns.log_sink import FRAMES_AN_ITERATION
from tests.api.conftest import abandon
from tests.clients import LIMIT_SECONDS
from tests.scripted_agent import Event, Final, Send, Stall, Token, Wait


async def test_bug_of_ours_ends_the_turn_in_words_and_is_logged(plain, agent, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("secret detail")

    async with plain() as browser:
        monkeypatch.setattr("relay.agent.protocols.agent.AgentEvents.frames", broken)
        await browser.say("x")
        assert await browser.turn() == [{"type": "error", "content": "Something went wrong in the gateway. Try again."}]
        assert "secret detail" in caplog.text
        monkeypatch.undo()
        assert await browser.ask("next works") == "next works"


@pytest.mark.parametrize(
    ("end", "level", "event"),
    [
        (Final(), "INFO", "turn ended: answered"),
        (Event({"type": "error", "content": "no"}), "WARNING", "turn ended: upstream_error"),
    ],
)
async def test_only_a_turn_that_failed_is_worth_a_warning(plain, agent, caplog, end, level, event):
    caplog.set_level("INFO")
    agent.script = [Token("a"), end]
    async with plain() as browser:
        await browser.say("x")
        await browser.turn()
    assert [record.levelname for record in caplog.records if record.getMessage() == event] == [level]


async def test_turn_over_its_time_ends_with_words(v1, agent, configure):
    configure(TURN_TIMEOUT="1")
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.turn())[-1]["code"] == "turn_timeout"
        await agent.wait_disconnected(len(agent.requests))  # none, if all stood still before the agent was asked


async def test_shutdown_ends_running_turns_with_words(v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await lifecycle.stop()
        error = await browser.frame_of("error")
        assert (error["code"], error["retry_after_ms"]) == ("shutting_down", 1000)
    await agent.wait_disconnected(1)


async def test_no_call_of_the_store_is_made_for_nothing(v1, agent, monkeypatch):
    """The end of an answer comes alone: nothing is appended in front of it."""
    layer, sizes, is_seen = (await lifecycle.current()).layer, [], asyncio.Event()
    append = layer.append

    async def note_and_append(turn, frames, position):
        sizes.append(len(frames))
        await append(turn, frames, position)

    monkeypatch.setattr(layer, "append", note_and_append)
    monkeypatch.setattr(layer, "append_nowait", lambda *arguments: False)
    agent.script = [Token("a"), Wait(is_seen), Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        is_seen.set()
        assert (await browser.frame())["finish_reason"] == "stop"
    assert sizes == [1]


async def test_drain_lets_a_running_turn_finish(v1, agent):
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Token("b"), Final()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        draining = asyncio.ensure_future((await lifecycle.current()).runner.drain(asyncio.Event()))
        await asyncio.sleep(0)
        go_on.set()
        assert await browser.answer() == "b"
        async with asyncio.timeout(LIMIT_SECONDS):
            await draining


async def test_answer_whose_last_token_was_not_stored_does_not_look_whole(v1, agent, monkeypatch):
    """Its store was away when the token came, and for too long; it is back for the end."""
    layer = (await lifecycle.current()).layer
    append_nowait, go_on, is_lost = layer.append_nowait, asyncio.Event(), asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Token("lost"), Wait(is_lost), Final()]

    def lose(*arguments):
        if not go_on.is_set():
            return append_nowait(*arguments)
        is_lost.set()
        return True

    async def tell(turn):
        if is_lost.is_set():
            raise StoreUnavailable

    monkeypatch.setattr(layer, "append_nowait", lose)
    monkeypatch.setattr(layer, "wait_appended", tell)
    async with v1() as browser:
        await browser.say("x")
        assert (await browser.frame_of("assistant_message"))["token"] == "a"
        go_on.set()
        assert (await browser.frame())["code"] == "store_unavailable"


async def test_a_turn_whose_claim_got_no_answer_runs_all_the_same(v1, application, monkeypatch):
    """The store has noted the claim and is gone: nobody else may run the turn, and to end it would be a pity."""
    monkeypatch.setattr(runner, "OUTAGE_PAUSE_SECONDS", 0.0)
    layer = (await lifecycle.current()).layer
    claim, answers = layer.claim, [StoreUnavailable(), None]

    async def claim_without_answer(session_id, claim_id):
        turn, failure = await claim(session_id, claim_id), answers.pop(0)
        if failure is not None:
            raise failure
        layer.claim = claim
        return turn

    layer.claim = claim_without_answer
    async with v1() as browser:
        assert await browser.ask("hello") == "hello"


async def test_lost_lease_writes_nothing_more(v1, agent, application):
    """Another worker takes the turn over while ours is paused: its end is the only one."""
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Token("late"), Stall()]
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("assistant_message")
        layer = lifecycle.session_layer()
        abandon("s")
        gateway = await lifecycle.current()
        parts = (gateway.agent, gateway.transcripts, gateway.history, gateway.tracing, gateway.webhooks)
        other = type(gateway.runner)(layer, *parts)
        other.wake("s")
        error = await browser.frame_of("error")
        assert error["code"] == "interrupted"
        go_on.set()
        await agent.wait_disconnected(1)
        assert await browser.is_quiet()
        await other.stop()


async def test_the_lease_is_renewed_before_it_lapses_while_the_agent_is_silent(v1, agent, configure, monkeypatch):
    configure(LEASE_SECONDS="6")
    is_renewed, lease_seconds_left = asyncio.Event(), []
    agent.script = [Token("a"), Wait(is_renewed), Final()]
    async with v1() as browser:
        layer = (await lifecycle.current()).layer
        renew = layer.renew

        async def note_and_renew(turn):
            lease_seconds_left.append(layer._index.get("s").running.lease_expires_at - layer._clock())
            await renew(turn)
            is_renewed.set()

        monkeypatch.setattr(layer, "renew", note_and_renew)
        assert await browser.ask("x") == "a"
    assert lease_seconds_left[0] > 0


async def test_sweeper_ends_an_abandoned_turn_and_goes_on_with_the_queue(v1, agent, sweeping):
    """The worker that claimed the turn is gone: its turn ends once, and the next message is answered."""
    async with v1() as browser:
        gateway = await lifecycle.current()
        gateway.runner.wake = lambda session_id: None
        for word in ("lost", "next"):
            await browser.say(word)
            await browser.frame_of("accepted")
        assert await gateway.layer.claim("s", "a worker that dies") is not None
        abandon("s")
        del gateway.runner.wake
        assert (await browser.frame_of("error"))["code"] == "interrupted"
        assert await browser.answer() == "next"
    assert [request.content for request in agent.requests] == ["next"]


@pytest.mark.parametrize("error", [StoreUnavailable(), ZeroDivisionError("a bug")])
async def test_sweeper_runs_what_could_not_be_begun_and_outlives_a_sweep_that_fails(
    v1, sweeping, monkeypatch, caplog, error
):
    async with v1() as browser:
        layer = (await lifecycle.current()).layer
        failures = {"claim": asyncio.Event(), "pending": asyncio.Event()}

        def fail_once(name: str) -> None:
            method = getattr(layer, name)

            async def call(*args: object) -> object:
                if failures[name].is_set():  # the runner repeats the call that failed
                    return await method(*args)
                failures[name].set()
                raise error

            monkeypatch.setattr(layer, name, call)

        for name in failures:
            fail_once(name)
        assert await browser.ask("hello") == "hello"
        assert all(failure.is_set() for failure in failures.values())
    assert ("runner failed; the sweeper will try again" in caplog.text) == isinstance(error, ZeroDivisionError)


async def test_agent_that_sends_nothing_but_padding_is_stopped(v1, agent, configure):
    configure(MAX_TURN_BYTES="1024", MAX_EVENT_BYTES="1024")
    agent.script = [Token("a"), *[Send(b":" + b"x" * 500 + b"\n\n")] * 20, Stall()]
    async with v1() as browser:
        await browser.say("x")
        error = await browser.frame_of("error")
        assert (error["code"], error["content"]) == ("upstream_protocol", "The agent's answer is too long.")
        await agent.wait_disconnected(1)


TOKEN_EVENT = b'data: {"type":"assistant_message","token":"a","is_final":false}\n\n'
FINAL_EVENT = b'data: {"type":"assistant_message","token":"","is_final":true}\n\n'
LARGE_EVENT = b"data: " + b"x" * 2_000 + b"\n\n"


@pytest.mark.parametrize(
    ("sent", "kinds", "error"),
    [
        (TOKEN_EVENT + FINAL_EVENT + TOKEN_EVENT, [FrameKind.TOKEN, FrameKind.FINAL], None),
        (TOKEN_EVENT + FINAL_EVENT + LARGE_EVENT, [FrameKind.TOKEN, FrameKind.FINAL], None),
        (TOKEN_EVENT + LARGE_EVENT + FINAL_EVENT, [FrameKind.TOKEN], UpstreamProtocol),
    ],
    ids=["more", "too-large-behind", "too-large-before"],
)
async def test_answer_gives_what_stands_before_its_end_and_nothing_behind(agent, configure, sent, kinds, error):
    configure(MAX_EVENT_BYTES="1024")
    agent.script = [Send(sent), Stall()]
    client, given = AgentClient(OwnAgent()), []
    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    async with asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(error) if error else nullcontext():
            async for batch in client.ask(turn).batches():
                given += [frame.kind for frame in batch]
        assert given == kinds
        await agent.wait_disconnected(1)


async def test_an_answer_of_many_portions_waits_for_nothing_between_them(application, agent):
    """A pause of a second after each portion would take minutes."""
    agent.script = [*([Token("x" * 16_000)] * 100), Final()]
    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    async with asyncio.timeout(LIMIT_SECONDS):
        given = [frame async for batch in AgentClient(OwnAgent()).ask(turn).batches() for frame in batch]
    assert len(given) == 101


class Sink:
    """A ``FrameSink`` that accepts or refuses, in turns, and lets the agent's script go on."""

    def __init__(self, *moods, steps):
        self.frames, self.sizes, self._moods, self._steps = [], [], itertools.cycle(moods), iter(steps)

    def push(self, frames):
        next(self._steps).set()
        self.sizes.append(len(frames))
        if not next(self._moods):
            return False
        self.frames += frames
        return True


@pytest.mark.parametrize(("moods", "refused"), [([True], 0), ([False], 9), ([True, False], 3)])
async def test_answer_pushes_the_frames_of_each_chunk_and_gives_those_that_are_refused(
    agent, configure, moods, refused
):
    configure(MAX_EVENT_BYTES="1024")
    steps = [asyncio.Event() for _ in range(3)]
    script = [step for go_on in steps for step in (Send(TOKEN_EVENT * 3), Wait(go_on))]
    agent.script = [*script, Send(FINAL_EVENT)]
    sink, given = Sink(*moods, steps=steps), []
    turn = Turn("s", "t", "lease", {"type": "user_message", "content": "x"})
    async with asyncio.timeout(LIMIT_SECONDS):
        async for batch in AgentClient(OwnAgent()).ask(turn).batches(sink):
            given += batch
    assert sink.sizes == [3, 3, 3]
    assert [frame.kind for frame in given] == [FrameKind.TOKEN] * refused + [FrameKind.FINAL]
    assert len(sink.frames) == 9 - refused


async def test_failure_where_a_chunk_arrives_ends_the_turn_in_words_and_is_logged(plain, agent, monkeypatch, caplog):
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Token("b"), Stall()]

    def broken(*args, **kwargs):
        raise ZeroDivisionError("secret detail")

    async with plain() as browser:
        await browser.say("x")
        assert (await browser.frame())["token"] == "a"
        monkeypatch.setattr("relay.agent.protocols.agent.AgentEvents.frames", broken)
        go_on.set()
        assert (await browser.frame())["content"] == "Something went wrong in the gateway. Try again."
    assert "turn failed unexpectedly" in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("size", [8, FRAMES_AN_ITERATION + 1])
async def test_tokens_of_one_chunk_arrive_once_and_in_order(v1, agent, size):
    datas = [f'data: {{"type":"assistant_message","token":"{number}"}}\n\n' for number in range(3 * size)]
    chunks = ["".join(datas[start : start + size]).encode() for start in range(0, 3 * size, size)]
    are_seen = asyncio.Event()
    agent.script = [*(Send(chunk) for chunk in chunks), Wait(are_seen), Final()]
    async with v1() as browser:
        await browser.say("x")
        for number in range(3 * size):
            assert (await browser.frame_of("assistant_message"))["token"] == str(number)
        are_seen.set()
        assert (await browser.frame())["finish_reason"] == "stop"


async def test_turns_over_the_bound_wait_for_a_place(plain, agent, configure):
    configure(MAX_CONCURRENT_TURNS="1")
    go_on = asyncio.Event()
    agent.on("first", [Token("1"), Wait(go_on), Final()])
    async with plain("a") as one, plain("b") as two:
        await one.say("first")
        assert (await one.frame())["token"] == "1"
        await two.say("second")
        assert await two.is_quiet()
        go_on.set()
        assert await two.answer() == "second"


@pytest.mark.parametrize("words", [["one"], ["one", "two", "three"]])
async def test_cancel_while_queued_ends_the_turn_without_asking_the_agent(v1, agent, words):
    go_on = asyncio.Event()
    agent.on("first", [Token("1"), Wait(go_on), Final()])
    async with v1() as browser:
        await browser.say("first")
        await browser.frame_of("assistant_message")
        turn_ids = []
        for word in words:
            await browser.say(word)
            turn_ids.append((await browser.frame_of("accepted"))["turn_id"])
        await browser.cancel(turn_id=turn_ids[0])
        assert await browser.frame_of("cancel_ack") == {
            "type": "cancel_ack", "turn_id": turn_ids[0], "status": "queued",
        }  # fmt: skip
        go_on.set()
        assert (await browser.turn())[-1]["finish_reason"] == "stop"
        cancelled = await browser.turn()
        assert [frame["type"] for frame in cancelled] == ["user_message", "assistant_message"]
        assert (cancelled[-1]["turn_id"], cancelled[-1]["finish_reason"]) == (turn_ids[0], "cancelled")
        for word in words[1:]:
            assert await browser.answer() == word
    assert [request.content for request in agent.requests] == ["first", *words[1:]]


async def test_log_of_a_whole_run_holds_no_prompt_answer_or_key(plain, agent, caplog):
    caplog.set_level("DEBUG")
    agent.on("private prompt", [Token("private answer"), Final()])
    agent.on("private prompt 2", [Token("private answer"), Stall()])
    async with plain() as browser:
        await browser.ask("private prompt")
        await browser.say("private prompt 2")
        await browser.frame()
        await browser.send_text('{"type":"user_message","content":"private prompt", NaN')
        await browser.error()
        await browser.cancel()
        await browser.frame()
    relay_log = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("relay"))
    assert "ended: answered" in relay_log
    for private in ("private", "test-internal-key", agent.url):
        assert private not in relay_log
