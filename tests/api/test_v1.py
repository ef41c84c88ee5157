"""The dialect ``gateway.v1``: resume, queue, cancel, idempotency."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from relay.exceptions import StoreUnavailable
from relay.process import lifecycle
from tests.clients import LIMIT_SECONDS, V1, text_of
from tests.scripted_agent import Final, Stall, Token, Wait


async def test_welcome_is_first_and_describes_the_session(v1):
    async with v1() as browser:
        assert browser.subprotocol == V1
        welcome = await browser.frame()
        epoch = welcome.pop("epoch")
        assert epoch.isalnum()
        assert 1 <= len(epoch) <= 32
        assert welcome == {
            "type": "welcome",
            "session_id": "s",
            "offset": 0,
            "after": 0,
            "recovered": None,
            "heartbeat_seconds": 20.0,
            "retention_seconds": 3600.0,
            "max_message_bytes": 262144,
            "active": None,
            "queued": [],
            "pending": [],
            "history": False,
        }


async def test_welcome_names_what_runs_and_what_waits(v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as one:
        turn_ids = []
        for word in ("one", "two", "three"):
            await one.say(word)
            turn_ids.append((await one.frame_of("accepted"))["turn_id"])
        async with v1() as two:
            welcome = await two.frame()
            assert welcome["active"] == {"turn_id": turn_ids[0], "status": "running"}
            assert welcome["queued"] == turn_ids[1:]


async def test_frames_of_a_turn_carry_turn_and_contiguous_offsets(v1, agent):
    agent.script = [Token(""), Token("Hi"), Final()]
    async with v1() as browser:
        epoch = (await browser.frame())["epoch"]
        await browser.say("hello", client_message_id="m-1")
        accepted, *frames = await browser.turn()
        turn_id = accepted["turn_id"]
        assert accepted == {
            "type": "accepted", "client_message_id": "m-1", "turn_id": turn_id, "position": 0, "status": "queued",
            "duplicate": False,
        }  # fmt: skip
        assert frames == [
            {"type": "user_message", "content": "hello", "client_message_id": "m-1", "turn_id": turn_id, "offset": 1},
            {"type": "assistant_message", "token": "", "is_final": False, "turn_id": turn_id, "offset": 2},
            {"type": "assistant_message", "token": "Hi", "is_final": False, "turn_id": turn_id, "offset": 3},
            {"type": "assistant_message", "token": "", "is_final": True, "finish_reason": "stop", "turn_id": turn_id,
             "offset": 4},
        ]  # fmt: skip
    async with v1() as browser:
        welcome = await browser.frame()
        assert (welcome["epoch"], welcome["offset"], welcome["after"]) == (epoch, 4, 4)
        assert await browser.is_quiet()


# The cursor: each row of the table.


CURSORS = [
    ("", None, None),
    ("epoch=&offset=", None, None),
    ("offset=0", False, "trimmed"),
    ("epoch={epoch}&offset=20", True, None),
    ("epoch={epoch}&offset=19", True, 20),
    ("epoch={epoch}&offset=4", True, 5),
    ("epoch={epoch}&offset=3", False, "trimmed"),
    ("epoch={epoch}&offset=0", False, "trimmed"),
    ("epoch={epoch}&offset=21", False, "epoch_changed"),
    ("epoch={epoch}&offset=-1", False, "epoch_changed"),
    ("epoch={epoch}&offset=x", False, "epoch_changed"),
    ("epoch={epoch}&offset=1e1", False, "epoch_changed"),
    ("epoch={epoch}&offset=%D9%A1%D9%A2", False, "epoch_changed"),
    ("epoch={epoch}&offset=0000000000000020", False, "epoch_changed"),
    ("epoch={epoch}&offset=000000000000020", True, None),
    ("epoch={epoch}", False, "epoch_changed"),
    ("epoch=another&offset=20", False, "epoch_changed"),
    ("epoch=an-other&offset=20", False, "epoch_changed"),
    ("epoch=" + "x" * 33 + "&offset=20", False, "epoch_changed"),
    ("offset=20", False, "epoch_changed"),
    ("offset=x", False, "epoch_changed"),
]


@pytest.mark.parametrize(("query", "recovered", "first"), CURSORS)
async def test_cursor(v1, ended, query, recovered, first):
    async with v1(query=query.format(epoch=ended)) as browser:
        welcome = await browser.frame()
        assert (welcome["recovered"], welcome["epoch"], welcome["offset"]) == (recovered, ended, 20)
        if isinstance(first, str):
            assert welcome["after"] is None
            snapshot = await browser.frame()
            assert snapshot["turn_id"]
            assert {**snapshot, "turn_id": ""} == {
                "type": "snapshot", "epoch": ended, "turn_id": "", "user_message": None,
                "content": "".join(f"{n} " for n in range(18)), "offset": 20, "reason": first,
                "finish_reason": "stop", "error": None, "history": False,
            }  # fmt: skip
        elif first is not None:
            assert welcome["after"] == first - 1
            assert [(await browser.frame())["offset"] for _ in range(first, 21)] == list(range(first, 21))
        else:
            assert welcome["after"] == 20
        assert await browser.is_quiet()


async def test_cursor_of_another_session_is_not_honoured(v1, ended):
    async with v1("another", f"epoch={ended}&offset=1") as browser:
        welcome = await browser.frame()
        assert (welcome["recovered"], welcome["after"], welcome["offset"]) == (False, None, 0)
        assert welcome["epoch"] != ended
        snapshot = await browser.frame()
        assert snapshot == {
            "type": "snapshot", "epoch": welcome["epoch"], "turn_id": None, "user_message": None, "content": None,
            "offset": 0, "reason": "epoch_changed", "finish_reason": None, "error": None, "history": False,
        }  # fmt: skip


async def test_cursor_of_a_log_that_has_expired_is_of_another_epoch(v1, http, ended, agent):
    """Over both transports: nothing is kept, and the client is told so, with the new log's epoch."""
    index = lifecycle.session_layer()._index
    index.forget(index.get("s"))
    async with (
        v1(query=f"epoch={ended}&offset=20") as browser,
        http.events(**{"Last-Event-ID": f"{ended}:20"}) as stream,
    ):
        for viewer in (browser, stream):
            welcome, snapshot = await viewer.frame(), await viewer.frame()
            assert (welcome["recovered"], welcome["after"], welcome["offset"]) == (False, None, 0)
            assert welcome["epoch"] == snapshot["epoch"] != ended
            assert (snapshot["reason"], snapshot["turn_id"], snapshot["offset"]) == ("epoch_changed", None, 0)
        agent.script = [Token("goes on"), Final()]
        await browser.say("next")
        assert await stream.answer() == "goes on"


async def test_snapshot_of_a_running_turn_is_followed_by_the_rest(v1, agent):
    go_on = asyncio.Event()
    agent.script = [Token("a"), Token('"b\n'), Wait(go_on), Token("c"), Final()]
    async with v1() as one:
        await one.say("x")
        for _ in range(2):
            await one.frame_of("assistant_message")
        async with v1(query="epoch=old&offset=7") as two:
            await two.frame()
            snapshot = await two.frame()
            assert (snapshot["content"], snapshot["finish_reason"], snapshot["offset"]) == ('a"b\n', None, 3)
            go_on.set()
            assert [(frame["token"], frame["offset"]) for frame in await two.turn()] == [("c", 4), ("", 5)]


async def test_snapshot_of_a_failed_turn_tells_the_error(v1, agent):
    async with v1() as one:
        await one.say("script:break")
        error = (await one.turn())[-1]
    async with v1(query="epoch=old&offset=7") as two:
        await two.frame()
        snapshot = await two.frame()
        assert (snapshot["content"], snapshot["finish_reason"]) == ("a ", "error")
        assert snapshot["error"] == {"code": "upstream_eof", "content": error["content"]}


async def test_socket_without_cursor_gets_the_turn_in_flight_from_its_start(v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as one:
        await one.say("x")
        await one.frame_of("assistant_message")
        async with v1() as two:
            welcome = await two.frame()
            assert (welcome["recovered"], welcome["after"]) == (None, 0)
            assert [(await two.frame())["type"] for _ in range(2)] == ["user_message", "assistant_message"]


# Idempotency and on_busy.


async def test_same_message_again_is_answered_once(v1, agent):
    go_on = asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Final()]
    async with v1() as one, v1() as two:
        await asyncio.gather(*(socket.say("hello", client_message_id="m") for socket in (one, two)))
        first, second = await one.frame_of("accepted"), await two.frame_of("accepted")
        assert first["turn_id"] == second["turn_id"]
        assert sorted([first["duplicate"], second["duplicate"]]) == [False, True]
        await one.say("hello", client_message_id="m", on_busy="interrupt")
        again = await one.frame_of("accepted")
        assert (again["turn_id"], again["duplicate"]) == (first["turn_id"], True)
        await agent.wait_requests(1)
        go_on.set()
        while (await one.frame()).get("is_final") is not True:
            pass
        await one.say("hello", client_message_id="m")
        late = await one.frame_of("accepted")
        assert (late["status"], late["position"], late["duplicate"]) == ("ended", None, True)
        await one.say("other", client_message_id="m")
        conflict = await one.frame_of("error")
        assert (conflict["code"], conflict["client_message_id"]) == ("idempotency_conflict", "m")
        assert "turn_id" not in conflict
    assert len(agent.requests) == 1


async def test_message_said_again_after_a_lost_accepted_is_answered_once(v1, agent):
    """The line broke before the first sending was answered: nobody knows whether it arrived, so it is repeated."""
    agent.script = [Token("a"), Final()]
    async with v1() as browser:
        cursor = await browser.frame()
        await browser.say("hello", client_message_id="m")
    async with v1(query=f"epoch={cursor['epoch']}&offset={cursor['after']}") as browser:
        await browser.say("hello", client_message_id="m")
        accepted = await browser.frame_of("accepted")
        assert (accepted["client_message_id"], accepted["duplicate"]) == ("m", True)
    async with v1(query=f"epoch={cursor['epoch']}&offset={cursor['after']}") as browser:
        frames = await browser.turn()
        assert [frame["turn_id"] for frame in frames if frame["type"] == "user_message"] == [accepted["turn_id"]]
        assert text_of(frames) == "a"
    assert len(agent.requests) == 1


@pytest.mark.parametrize("bad", ["", "x" * 129, "a b", "ü", "a\n", 7, []])
async def test_invalid_client_message_id_is_a_bad_request_and_not_echoed(v1, agent, bad):
    async with v1() as browser:
        await browser.frame()
        await browser.say("x", client_message_id=bad)
        error = await browser.frame()
        assert error == {"type": "error", "content": "Invalid JSON message", "code": "bad_request"}
    assert agent.requests == []


async def test_reject_refuses_while_busy_and_a_refused_id_is_not_remembered(v1, agent):
    go_on = asyncio.Event()
    agent.on("first", [Token("1"), Wait(go_on), Final()])
    async with v1() as browser:
        await browser.say("first")
        await browser.frame_of("assistant_message")
        await browser.say("second", on_busy="reject", client_message_id="m")
        error = await browser.frame_of("error")
        assert error["code"] == "session_busy"
        assert error["client_message_id"] == "m"
        assert error["retry_after_ms"] > 0
        go_on.set()
        await browser.turn()
        await browser.say("second", on_busy="reject", client_message_id="m")
        assert (await browser.frame_of("accepted"))["duplicate"] is False
        assert await browser.answer() == "second"


async def test_interrupt_stops_the_turn_in_flight_and_goes_first(v1, agent):
    agent.on("first", [Token("1"), Stall()])
    async with v1() as browser:
        await browser.say("first")
        await browser.frame_of("assistant_message")
        await browser.say("queued")
        await browser.say("older", on_busy="interrupt")
        await browser.say("newest", on_busy="interrupt")
        frames = [frame for _ in range(4) for frame in await browser.turn()]
        spoken = [frame["content"] for frame in frames if frame["type"] == "user_message"]
        assert spoken == ["newest", "older", "queued"]
        finals = [frame["finish_reason"] for frame in frames if frame.get("is_final")]
        assert finals == ["cancelled", "stop", "stop", "stop"]
    assert [request.content for request in agent.requests] == ["first", "newest", "older", "queued"]


async def test_turn_that_fails_or_is_stopped_drops_none_behind_it_and_turns_stand_together(v1, agent):
    agent.on("stopped", [Token("1"), Stall()])
    words = ["stopped", "script:break", "script:status 500", "script:stall", "last"]
    async with v1() as browser:
        for word in words:
            await browser.say(word)
        for number, word in enumerate(words, 1):
            await agent.wait_requests(number)
            if word in ("stopped", "script:stall"):
                await browser.cancel()
            await browser.turn()
    async with v1(query="offset=0") as browser:
        await browser.frame()
        log = [frame for _ in words for frame in await browser.turn()]
        assert [frame["offset"] for frame in log] == list(range(1, len(log) + 1))
        turns = [list(turn) for _, turn in itertools.groupby(log, key=lambda frame: frame["turn_id"])]
        assert [turn[0]["content"] for turn in turns] == words
        ends = [turn[-1].get("finish_reason") or turn[-1]["code"] for turn in turns]
        assert ends == ["cancelled", "upstream_eof", "upstream_error", "cancelled", "stop"]
    assert [request.content for request in agent.requests] == words


async def test_invalid_on_busy_is_refused(v1):
    async with v1() as browser:
        await browser.say("x", on_busy="explode")
        assert (await browser.frame_of("error"))["code"] == "bad_request"


# Cancel.


async def test_cancel_is_acknowledged_and_asked_again_says_the_same(v1, agent):
    agent.script = [Token("par"), Stall()]
    async with v1() as one, v1() as two:
        await one.say("x")
        turn_id = (await one.frame_of("accepted"))["turn_id"]
        await one.frame_of("assistant_message")
        await two.cancel(turn_id=turn_id)  # from another tab
        await two.cancel(turn_id=turn_id)  # once more
        for _ in range(2):
            ack = await two.frame_of("cancel_ack")
            assert ack["turn_id"] == turn_id
            assert ack["status"] in ("cancelling", "already_ended")
        frames = await one.turn()
        assert frames[-1]["finish_reason"] == "cancelled"
        await one.cancel(turn_id=turn_id)
        assert (await one.frame_of("cancel_ack"))["status"] == "already_ended"
        await agent.wait_disconnected(1)
        await one.cancel(turn_id="no such turn")
        assert await one.frame() == {"type": "cancel_ack", "turn_id": "no such turn", "status": "unknown"}
        await one.cancel()
        assert await one.frame() == {"type": "cancel_ack", "turn_id": None, "status": "unknown"}


async def test_cancel_of_a_turn_of_long_ago_does_not_hit_the_next_one(v1, agent):
    go_on = asyncio.Event()
    agent.on("second", [Token("2"), Wait(go_on), Final()])
    async with v1() as browser:
        await browser.say("first")
        turn_id = (await browser.frame_of("accepted"))["turn_id"]
        await browser.answer()
        await browser.say("second")
        await browser.frame_of("assistant_message")
        await browser.cancel(turn_id=turn_id)
        assert (await browser.frame_of("cancel_ack"))["status"] == "already_ended"
        go_on.set()
        assert (await browser.turn())[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("script", [[Stall()], [Token("a"), Stall()]], ids=["before first token", "mid-answer"])
async def test_cancel_closes_the_connection_to_the_agent(v1, agent, script):
    agent.script = script
    async with v1() as browser:
        await browser.say("x")
        await agent.wait_requests(1)
        await browser.cancel()
        frames = await browser.turn()
        assert frames[-1]["finish_reason"] == "cancelled"
        await agent.wait_disconnected(1)


async def test_cancel_before_the_connection_is_made_ends_the_turn(v1, agent, monkeypatch):
    monkeypatch.setattr("relay.agent.asking.CONNECT_SECONDS", 3600.0)
    agent.refuse()
    async with v1() as browser:
        await browser.say("x")
        await browser.frame_of("user_message")
        await browser.cancel()
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
    assert agent.requests == []


async def test_cancel_in_the_instant_of_the_natural_end_gives_one_end(v1, agent):
    agent.script = [Token("a"), Final()]
    frames = []
    async with v1() as browser:
        for number in range(20):
            await browser.say(str(number))
            while not frames or frames[-1].get("token") != "a":
                frames.append(await browser.frame())
            await browser.cancel()
            while frames[-1]["type"] != "cancel_ack":
                frames.append(await browser.frame())
        while sum(bool(frame.get("is_final")) for frame in frames) < 20:
            frames.append(await browser.frame())
        assert await browser.is_quiet()
    assert [frame["offset"] for frame in frames if "offset" in frame and frame["type"] != "welcome"] == list(
        range(1, 61)
    )
    assert len(agent.requests) == 20


# Both dialects, many viewers.


async def test_plain_and_resumable_sockets_see_the_same_tokens(plain, v1):
    async with plain() as old, v1() as new:
        await old.say("one two three")
        old_frames, new_frames = await old.turn(), await new.turn()
        assert text_of(old_frames) == text_of(new_frames) == "one two three"
        log = [frame for frame in new_frames if "offset" in frame and frame["type"] == "assistant_message"]
        bare = [{name: frame[name] for name in ("type", "token", "is_final")} for frame in log]
        assert bare == old_frames


async def test_coalesce_merges_only_what_is_behind_and_only_if_asked(v1, agent):
    agent.script = [*(Token(f'{number}"') for number in range(5)), Final()]
    async with v1() as browser:
        await browser.say("x")
        frames = await browser.turn()
        epoch = frames[0]["epoch"]
    async with v1(query=f"epoch={epoch}&offset=0&coalesce=1") as merged:
        await merged.frame()
        user, tokens, final = [await merged.frame() for _ in range(3)]
        assert (user["offset"], final["offset"]) == (1, 7)
        assert tokens == {
            "type": "assistant_message", "token": '0"1"2"3"4"', "is_final": False, "turn_id": user["turn_id"],
            "from_offset": 2, "offset": 6,
        }  # fmt: skip
    async with v1(query=f"epoch={epoch}&offset=0") as single:
        await single.frame()
        assert [(await single.frame())["offset"] for _ in range(7)] == [1, 2, 3, 4, 5, 6, 7]


async def test_quiet_socket_is_told_its_position(v1, configure):
    await lifecycle.current()  # so its layer's bounds are the usual ones: no viewer lapses, and with it the epoch
    configure(HEARTBEAT_SECONDS="0.2")
    async with v1() as browser:
        welcome = await browser.frame()
        assert await browser.frame() == {"type": "ping", "epoch": welcome["epoch"], "offset": 0}
        await browser.ask("hello")
        ping = await browser.frame_of("ping")
        assert ping["offset"] == 4


async def test_deleted_session_sends_its_viewers_away_and_begins_a_new_epoch(plain, v1, agent):
    agent.script = [Token("a"), Stall()]
    async with v1() as browser, plain() as old:
        epoch = (await browser.frame())["epoch"]
        await browser.say("x")
        await browser.frame_of("assistant_message")
        await old.frame()
        assert await lifecycle.session_layer().delete("s")
        leaving = await browser.frame_of("disconnect")
        assert (leaving["code"], leaving["reconnect"]) == ("session_deleted", False)
        assert await browser.close_code() == await old.close_code() == 1000
        await agent.wait_disconnected(1)
    async with v1(query=f"epoch={epoch}&offset=1") as browser:
        welcome = await browser.frame()
        assert welcome["recovered"] is False
        assert welcome["epoch"] != epoch


async def test_session_of_somebody_else_is_refused_in_words(application, plain, v1):
    layer = (await lifecycle.current()).layer
    layer.attach = refuse_with_not_owner
    async with plain() as old:
        assert not old.is_accepted
    async with v1() as browser:
        assert (await browser.frame())["code"] == "forbidden"
        assert await browser.close_code() == 4403


async def refuse_with_not_owner(*args: object) -> None:
    from relay.exceptions import NotOwner

    raise NotOwner


async def test_full_store_sends_new_sockets_away(plain, v1, agent, configure):
    configure(MAX_SESSIONS="1")
    agent.script = [Token("a"), Stall()]
    async with plain("busy") as busy:
        await busy.say("x")
        await busy.frame()
        async with plain("other") as old:
            assert not old.is_accepted
        async with v1("other") as new:
            leaving = await new.frame()
            assert (leaving["code"], leaving["reconnect"]) == ("store_unavailable", True)
            assert leaving["delay_ms"] > 0
            assert await new.close_code() == 4503


# ON_DISCONNECT.


async def test_last_viewer_leaving_cancels_if_so_configured(v1, agent, configure, monkeypatch):
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.01)
    configure(ON_DISCONNECT="cancel")
    agent.script = [Token("a"), Stall()]
    async with v1() as one:
        async with v1() as two:
            await two.say("x")
            await two.frame_of("assistant_message")
            await one.frame_of("assistant_message")
        assert agent.disconnects == []
    await agent.wait_disconnected(1)


async def test_last_viewer_leaving_cancels_nothing_by_default(v1, agent, application, monkeypatch):
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.0)
    gateway, go_on = await lifecycle.current(), asyncio.Event()
    agent.script = [Token("a"), Wait(go_on), Token("b"), Final()]
    async with v1() as one:
        await one.say("x")
        await one.frame_of("assistant_message")
    await asyncio.gather(*gateway.on_disconnect._waiting)
    go_on.set()
    async with v1(query="offset=0") as two:
        assert await two.answer() == "ab"


async def test_viewer_that_comes_back_at_once_keeps_the_turn(v1, agent, configure, monkeypatch):
    """It is back when it is looked whether anybody watches."""
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.0)
    configure(ON_DISCONNECT="cancel")
    gateway = await lifecycle.current()
    cancel_unwatched, is_back, go_on = gateway.layer.cancel_unwatched, asyncio.Event(), asyncio.Event()

    async def cancel_later(session_id: str) -> int:
        await is_back.wait()
        return await cancel_unwatched(session_id)

    monkeypatch.setattr(gateway.layer, "cancel_unwatched", cancel_later)
    agent.script = [Token("a"), Wait(go_on), Token("b"), Final()]
    async with v1() as one:
        await one.say("x")
        await one.frame_of("assistant_message")
    async with v1() as two:
        is_back.set()
        (waiting,) = gateway.on_disconnect._waiting
        await asyncio.wait([waiting], timeout=LIMIT_SECONDS)
        assert waiting.done()
        go_on.set()
        assert await two.answer() == "ab"


async def test_cancel_of_what_nobody_watches_that_fails_is_logged(v1, agent, configure, monkeypatch, caplog):
    monkeypatch.setattr("relay.turns.on_disconnect.GRACE_SECONDS", 0.01)
    configure(ON_DISCONNECT="cancel")
    gateway = await lifecycle.current()
    asked = asyncio.Event()

    async def cancel_unwatched(session_id: str) -> int:
        asked.set()
        raise StoreUnavailable

    monkeypatch.setattr(gateway.layer, "cancel_unwatched", cancel_unwatched)
    async with v1() as browser:
        await browser.frame()
    async with asyncio.timeout(LIMIT_SECONDS):
        await asyncio.gather(asked.wait(), *gateway.on_disconnect._waiting)
    assert "session s: turns without viewers could not be cancelled" in caplog.text


async def test_log_text_is_json_of_its_own(v1, agent):
    """What is sent is compact JSON, one object a frame, in UTF-8."""
    agent.script = [Token("\u00fc\u2028\U0001f600"), Final()]
    async with v1() as browser:
        await browser.say("x")
        for _ in range(5):
            text = await browser.text()
            assert json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) == text
