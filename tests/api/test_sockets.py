"""What a socket does when the store, the client or our own code misbehaves."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay.delivery import consumer, inbox, session_connection, timeouts
from relay.exceptions import StoreUnavailable
from relay.process import lifecycle
from relay.protocol import frames
from tests.clients import LIMIT_SECONDS, V1
from tests.scripted_agent import Final, Stall, Token


@pytest.fixture
async def layer(application):
    """The session layer, whose calls a test may replace."""
    return (await lifecycle.current()).layer


def failing(error: Exception):
    async def call(*args: object) -> None:
        raise error

    return call


async def hang(*args: object) -> None:
    await asyncio.Event().wait()


async def test_message_that_cannot_be_stored_in_time_is_refused(v1, layer, monkeypatch):
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.05)
    async with v1() as browser:
        await browser.frame()
        layer.enqueue = hang
        await browser.say("x", client_message_id="m")
        error = await browser.frame()
        assert (error["code"], error["client_message_id"]) == ("store_unavailable", "m")
        assert error["retry_after_ms"] > 0
        del layer.enqueue
        assert await browser.ask("next works") == "next works"


async def test_message_that_meets_a_bug_is_refused_in_words(v1, layer, caplog):
    async with v1() as browser:
        await browser.frame()
        layer.enqueue = failing(ZeroDivisionError("secret detail"))
        await browser.say("x", client_message_id="m")
        error = await browser.frame()
        assert (error["code"], error["client_message_id"]) == ("internal", "m")
        assert "secret detail" not in json.dumps(error)
        assert "secret detail" in caplog.text


async def test_refusals_keep_the_order_of_the_messages(v1, layer):
    async with v1() as browser:
        await browser.frame()
        await browser.say("one", client_message_id="m1")
        await browser.send_text("nonsense")
        await browser.say("two", client_message_id="m2")
        answers = []
        while len(answers) < 3:
            frame = await browser.frame()
            if frame["type"] in ("accepted", "error"):
                answers.append(frame.get("client_message_id", frame.get("code")))
        assert answers == ["m1", "bad_request", "m2"]


async def test_flood_is_refused_in_words_then_sent_away(v1, layer, monkeypatch):
    """The store is slow and the client keeps sending: a bounded number waits, a bounded number is refused."""
    monkeypatch.setattr(inbox, "MAX_WAITING", 2)
    monkeypatch.setattr(inbox, "FINISH_SECONDS", 0.01)
    async with v1() as browser:
        await browser.frame()
        layer.enqueue = hang
        for _ in range(7):
            await browser.say("x")
        leaving = await browser.frame_of("disconnect")
        assert (leaving["code"], leaving["reconnect"]) == ("rate_limited", True)
        assert await browser.close_code() == 4429


async def test_viewer_that_meets_a_bug_is_closed_1011_and_the_turn_goes_on(v1, plain, layer, monkeypatch, caplog):
    async with plain() as other, v1() as browser:
        await browser.frame()
        monkeypatch.setattr("relay.protocol.frames.Frame.v1", property(lambda frame: 1 / 0))
        assert await other.ask("x") == "x"
        assert await browser.close_code() == 1011
        assert "ZeroDivisionError" in caplog.text


async def test_viewer_of_a_store_that_is_gone_is_sent_away_with_its_cursor(v1, plain, layer):
    async def gone(*args: object):
        raise StoreUnavailable
        yield

    layer.tail = gone
    async with v1() as browser:
        await browser.frame()
        leaving = await browser.frame()
        assert (leaving["code"], leaving["reconnect"]) == ("store_unavailable", True)
        assert 500 <= leaving["delay_ms"] <= 3_000
        assert await browser.close_code() == 4503
    async with plain() as old:
        assert await old.close_code() == 4503


async def test_a_client_that_is_turned_away_late_is_no_viewer(v1, layer):
    layer.ensure = failing(StoreUnavailable())
    async with v1() as browser:
        assert (await browser.frame())["code"] == "store_unavailable"
        del layer.ensure
    assert (await layer.ensure("s")).viewers == 0


async def test_a_client_that_leaves_before_it_is_let_in_is_no_viewer(application, layer):
    async def send(event: dict) -> None:
        raise OSError("gone")

    scope = {"type": "websocket", "path": "/ws/s/", "query_string": b"", "headers": [], "subprotocols": []}
    inbox: asyncio.Queue[dict] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    with pytest.raises(OSError, match="gone"):  # the server's own: it knows
        await application(scope, inbox.get, send)
    assert (await layer.ensure("s")).viewers == 0


async def test_plain_viewer_that_the_log_has_overtaken_is_closed_4508(plain, v1, agent, configure):
    """A burst larger than the log comes in one read: what was trimmed cannot be told in the plain dialect."""
    configure(BUFFER_SIZE="16")
    layer = lifecycle.session_layer()
    agent.script = [Token("a"), Stall()]
    async with plain() as old, v1() as new:
        await old.say("x")
        await old.frame()
        await new.frame_of("assistant_message")
        session = layer._index.get("s")
        session.write([frames.token(session.running.turn_id, f"{number} ") for number in range(40)])
        assert await old.close_code() == 4508
        snapshot = await new.frame()
        assert (snapshot["type"], snapshot["reason"]) == ("snapshot", "trimmed")
        assert snapshot["content"] == "a" + "".join(f"{number} " for number in range(40))


@pytest.mark.usefixtures("attaching_heartbeats")
async def test_heartbeat_that_fails_is_tried_again(v1, layer, configure, caplog):
    configure(HEARTBEAT_SECONDS="0.2")
    async with v1() as browser:
        await browser.frame()
        layer.attach = failing(StoreUnavailable())
        while "heartbeat failed" not in caplog.text:
            await asyncio.sleep(0)
        del layer.attach
        assert (await browser.frame())["type"] == "ping"


@pytest.mark.parametrize("since", ["before", "meanwhile"])
async def test_client_that_comes_while_draining_is_sent_away(v1, layer, since):
    gateway = await lifecycle.current()

    async def attach(*_: object) -> int:
        gateway.is_draining = True
        return 1

    gateway.is_draining = since == "before"
    layer.attach = attach
    async with v1() as browser:
        assert (await browser.frame_of("disconnect"))["code"] == "server_restart"
        assert await browser.close_code() == 1012


async def test_client_that_is_found_gone_at_a_heartbeat_is_left_in_peace(application, layer, configure, caplog):
    configure(HEARTBEAT_SECONDS="0.2")
    inbox: asyncio.Queue[dict] = asyncio.Queue()

    async def send(event: dict) -> None:
        if '"ping"' in event.get("text", ""):
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
            raise BrokenPipeError

    scope = {"type": "websocket", "path": "/ws/s/", "query_string": b"", "headers": [], "subprotocols": [V1]}
    inbox.put_nowait({"type": "websocket.connect"})
    async with asyncio.timeout(LIMIT_SECONDS):
        await application(scope, inbox.get, send)
    assert (await layer.ensure("s")).viewers == 0
    assert "heartbeat" not in caplog.text


async def test_client_that_takes_nothing_is_sent_away(application, layer, agent, configure, monkeypatch):
    """``send`` waits for ever, as a server with flow control lets it."""
    configure(HEARTBEAT_SECONDS="0.2")
    monkeypatch.setattr(session_connection, "BLOCKED_SECONDS", 0.1)
    monkeypatch.setattr(consumer, "DISCONNECT_SECONDS", 0.05)
    agent.script = [Token("a"), Final()]
    inbox: asyncio.Queue[dict] = asyncio.Queue()
    closed = asyncio.get_running_loop().create_future()

    async def send(event: dict) -> None:
        if event["type"] == "websocket.send":
            await asyncio.Event().wait()
        elif event["type"] == "websocket.close":
            closed.set_result(event["code"])
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    scope = {"type": "websocket", "path": "/ws/s/", "query_string": b"", "headers": [], "subprotocols": []}
    inbox.put_nowait({"type": "websocket.connect"})
    inbox.put_nowait({"type": "websocket.receive", "text": '{"type":"user_message","content":"x"}'})
    async with asyncio.timeout(LIMIT_SECONDS):
        await application(scope, inbox.get, send)
        assert await closed == 4508
    assert (await layer.ensure("s")).viewers == 0


@pytest.mark.parametrize("error", [OSError("gone"), BrokenPipeError()])
async def test_client_that_has_gone_costs_no_traceback(application, layer, error, caplog):
    inbox: asyncio.Queue[dict] = asyncio.Queue()

    async def send(event: dict) -> None:
        if event["type"] == "websocket.send":
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
            raise error

    scope = {"type": "websocket", "path": "/ws/s/", "query_string": b"", "headers": [], "subprotocols": []}
    inbox.put_nowait({"type": "websocket.connect"})
    inbox.put_nowait({"type": "websocket.receive", "text": "nonsense"})
    async with asyncio.timeout(LIMIT_SECONDS):
        await application(scope, inbox.get, send)
    assert "Traceback" not in caplog.text


async def test_what_was_said_right_before_the_end_is_done(v1, layer, agent):
    """The store is slow, and its client gone before it has answered: a message, then Stop for the one before."""
    agent.script = [Token("a"), Stall()]
    asked, may_answer = asyncio.Event(), asyncio.Event()
    enqueue = layer.enqueue

    async def slow_enqueue(*args: object) -> object:
        asked.set()
        await may_answer.wait()
        return await enqueue(*args)

    async with v1() as other:
        await other.say("first")
        await other.frame_of("assistant_message")
        layer.enqueue = slow_enqueue
        async with asyncio.timeout(LIMIT_SECONDS):
            async with v1() as browser:
                await browser.say("second", client_message_id="m")
                await browser.cancel()
                await asked.wait()
                leaving = asyncio.create_task(browser.communicator.disconnect(timeout=LIMIT_SECONDS))
                await asyncio.sleep(0)
                may_answer.set()
                await leaving
        assert (await other.turn())[-1]["finish_reason"] == "cancelled"
        assert (await other.frame_of("user_message"))["content"] == "second"


async def test_store_that_does_not_answer_keeps_no_client_that_left(v1, layer, monkeypatch):
    monkeypatch.setattr(inbox, "FINISH_SECONDS", 0.01)
    async with v1() as browser:
        layer.enqueue = hang
        await browser.say("x")
    assert (await layer.ensure("s")).viewers == 0


async def test_message_of_a_type_that_is_unknown_is_ignored(plain):
    """A newer server sends what this version does not know: the socket stays."""
    async with plain() as browser:
        await browser.communicator.send_input({"type": "from.the.future"})
        assert await browser.ask("hello") == "hello"
