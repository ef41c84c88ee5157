"""Each call repeated by the layer itself, after its reply was cut off: same state, same answer."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from redis.asyncio import Redis

from relay.exceptions import AlreadyDecided, TurnCancelled
from relay.layers.bounds import Bounds
from relay.layers.redis import scripts
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.values import Accepted, AgentPosition, CancelAck, CancelStatus, NewNotification, Rate, Viewer, new_id
from relay.protocol import frames
from relay.protocol.cursor import Cursor
from relay.testing.contract.questions import decision, question
from relay.testing.turns import LIMIT_SECONDS, S, enqueue, kept, log, message, say, shown, start, stop, tokens
from tests.buffer.redis_store import server_url
from tests.faults.cutting_proxy import CuttingProxy

CUTS = 2
FOLDER = Path(scripts.__file__).parent / "lua"
COVERED = {
    *(
        "announce",
        "append",
        "append_at",
        "append_calls",
        "attach",
        "cancel",
        "cancel_many",
        "check",
        "claim",
        "delete",
        "detach",
        "enqueue",
        "finish",
        "keep",
        "latest",
        "outbox_due",
        "outbox_postpone",
        "outbox_remove",
        "outbox_take",
        "page",
    ),
    *("pending", "position", "read", "release", "renew", "reset", "state", "take", "use_once", "used_for"),
}


@pytest.fixture
async def proxy():
    port = int(server_url().rpartition(":")[2].partition("/")[0])
    async with CuttingProxy(port) as proxy:
        yield proxy


@pytest.fixture
async def layer(proxy, monkeypatch):
    """A layer behind the proxy; every script is loaded already, and a check has time for the calls' repetition."""
    monkeypatch.setattr("relay.layers.redis.layer.CHECK_SECONDS", LIMIT_SECONDS)
    layer = RedisSessionLayer(proxy.url, Bounds(), prefix=f"test-{new_id()}")
    async with Redis.from_url(server_url()) as redis:
        for name in (*COVERED, "append_calls_at"):
            await redis.script_load(layer._stores._scripts[name].text)
    await layer.start()
    yield layer
    await layer.flush()
    await layer.close()


@pytest.fixture
def cut(proxy):
    """In this block the next calls' replies are lost, and they are repeated."""

    @contextlib.contextmanager
    def block():
        before = proxy.cut
        proxy.cut_replies(CUTS)
        yield
        assert proxy.cut == before + CUTS

    return block


async def test_enqueue(layer, cut):
    new = message()
    with cut():
        assert await layer.enqueue(S, new) == Accepted(new.turn_id, 0, "queued", False)
    assert (await layer.ensure(S)).queued == (new.turn_id,)


async def test_claim(layer, cut):
    await enqueue(layer, "a")
    await enqueue(layer, "b")
    with cut():
        turn = await layer.claim(S, new_id())
    assert turn.message["content"] == "a"
    assert await log(layer) == ["user:a"]


async def test_append(layer, cut):
    turn = await start(layer)
    for offset, text in enumerate("abc", 2):
        with cut():
            assert await say(layer, turn, text) == offset
    assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c"]


async def test_position_is_kept_with_its_frames_once(layer, cut):
    """Behind a question too, whose append is another script."""
    turn = await start(layer)
    with cut():
        await layer.append(turn, tokens(turn, "a"), AgentPosition("run", "1"))
    with cut():
        await layer.append(turn, [question(turn)], AgentPosition("run", "2", 1))
    with cut():
        await layer.release(turn)
    with cut():
        assert (await layer.claim(S, new_id())).position == AgentPosition("run", "2", 1)
    assert await log(layer) == ["user:hi", "token:a", "event:tool_call"]


async def test_begun_append(layer, cut):
    turn, stored = await start(layer), []
    for number, text in enumerate("abc", 1):
        with cut():
            assert layer.append_nowait(turn, tokens(turn, text), lambda: stored.append(turn.append_number))
            await layer.wait_appended(turn)
        assert stored == list(range(1, number + 1))
    assert await log(layer) == ["user:hi", "token:a", "token:b", "token:c"]


async def test_question_is_asked_and_answered_once(layer, cut):
    turn = await start(layer)
    with cut():
        await layer.append(turn, [question(turn)])
    assert [asked.call_id for asked in (await layer.ensure(S)).questions] == ["c1"]
    assert await log(layer) == ["user:hi", "event:tool_call"]
    await stop(layer, turn)
    with cut():
        accepted = await layer.enqueue(S, decision("c1"))
    assert not accepted.duplicate
    assert (await layer.ensure(S)).questions == ()
    with cut():
        answering = await layer.claim(S, new_id())
    assert [event["call_id"] for event in answering.questions] == ["c1"]
    assert (await log(layer))[-2:] == ["user:", "event:pending_resolved"]
    with cut(), pytest.raises(AlreadyDecided):
        await layer.enqueue(S, decision("c1"))


async def test_finish(layer, cut):
    turn = await start(layer)
    with cut():
        assert shown(await stop(layer, turn)) == "final:stop"
    assert await log(layer) == ["user:hi", "final:stop"]


async def test_the_outbox_loses_nothing(layer, cut):
    """What a lost reply had taken is due again after its lease."""
    turn = await start(layer)
    with cut():
        await layer.finish(turn, frames.final(turn.turn_id), NewNotification(text="ended", cancelled_text=""))
    with cut():
        assert await layer.outbox.take(10, 0.0, ahead_seconds=3600.0)
    (entry,) = await layer.outbox.take(10, 0.0, ahead_seconds=3600.0)
    with cut():
        await layer.outbox.postpone(entry, 60.0)
    assert await layer.outbox.take(10, 0.0) == []
    with cut():
        await layer.outbox.remove(entry)
    assert await layer.outbox.take(10, 0.0, ahead_seconds=3600.0) == []


async def test_cancel_of_the_queues_head_takes_no_second_turn(layer, cut):
    first = await enqueue(layer, "a")
    await enqueue(layer, "b")
    with cut():
        assert await layer.cancel(S) == CancelAck(first.turn_id, CancelStatus.QUEUED)
    assert (await layer.claim(S, new_id())).is_cancelled


async def test_clear_queue_counts_what_it_cancelled(layer, cut):
    await enqueue(layer, "a")
    await enqueue(layer, "b")
    with cut():
        assert await layer.clear_queue(S) == 2


async def test_reset(layer, cut):
    turn = await start(layer)
    with cut():
        assert shown(await layer.reset(turn, "ab")) == "error:buffer_lost"
    assert await log(layer) == ["error:buffer_lost"]


async def test_delete(layer, cut):
    await start(layer)
    with cut():
        assert await layer.delete(S)
    assert await layer.get(S) is None


async def test_read_and_renew(layer, cut):
    turn = await start(layer)
    epoch = (await layer.ensure(S)).epoch
    with cut():
        await layer.renew(turn)
    with cut():
        assert len(await layer.read(S, Cursor(epoch, 0), 10)) == 1


async def test_attach_and_detach_count_a_viewer_once(layer, cut):
    await layer.attach(S, "other")
    with cut():
        await layer.attach(S, "viewer", "alice")
    assert (await layer.ensure(S)).viewers == 2
    with cut():
        assert await layer.detach(S, "viewer") == 1


async def test_a_viewer_is_kept_and_answered_once(layer, cut):
    await layer.attach(S, "viewer", "alice")
    newest = Cursor((await layer.get(S)).epoch, 0)
    with cut():
        assert await kept(layer, Viewer(S, "viewer", "alice"), Viewer(S, "unknown")) == [newest, None]
    assert (await layer.get(S)).viewers == 1


async def test_cancel_unwatched_counts_what_it_cancelled(layer, cut):
    turn = await start(layer)
    await enqueue(layer, "next")
    with cut():
        assert await layer.cancel_unwatched(S) == 2
    with pytest.raises(TurnCancelled):
        await layer.renew(turn)


async def test_state_begins_one_session(layer, cut):
    with cut():
        state = await layer.ensure(S)
    assert (await layer.get(S)).epoch == state.epoch


async def test_lists_and_checks(layer, cut):
    await enqueue(layer)
    with cut():
        assert await layer.pending(10) == [S]
    with cut():
        page, _ = await layer.active("", 10)
    assert [state.session_id for state in page] == [S]
    with cut():
        await layer.check()
    with cut():
        await layer.check_announcements()


async def test_an_order_that_is_published_again_is_heard_once(layer, cut):
    peer = RedisSessionLayer(server_url(), prefix=layer._stores._namespace.partition(":")[0])
    orders = asyncio.Queue()
    await peer.listen_for_orders(orders.put_nowait)
    with cut():
        await layer.publish_order({"order": "drain"})
    await layer.publish_order({"order": "last"})
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await orders.get() == {"order": "drain"}
        assert await orders.get() == {"order": "last"}
    await peer.close()


async def test_busiest(layer, cut):
    await enqueue(layer)
    with cut():
        page = await layer.busiest(10)
    assert [state.session_id for state in page.sessions] == [S]
    assert page.silent_nodes == 0


async def test_comparing_with_the_store(layer, cut):
    epoch = (await layer.ensure(S)).epoch
    async with layer._store.open_feed(S) as watch:
        watch.position = Cursor(epoch, 0)
        with cut():
            await layer._store.compare()
        assert watch.position == Cursor(epoch, 0)


async def test_limits(layer, cut):
    limits = layer.limits
    with cut():
        assert await limits.use_once("thing", 10, "some purpose")
    with cut():
        assert await limits.used_for("thing") == "some purpose"
    key = new_id()
    with cut():
        assert await limits.take(key, Rate(1, 1000)) == 0
    assert await limits.take(key, Rate(1, 1000)) > 0


def test_no_script_is_left_out():
    """Whoever adds a script adds its case here."""
    names = {path.stem for path in FOLDER.glob("*.lua") if not path.stem.startswith("prelude")}
    assert names == COVERED
