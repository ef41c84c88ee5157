"""A foreign message on our channels reaches no viewer and no other receiver; it is counted, and logged now and then.

Each case forges an announcement of what a viewer would see next, at the right offset, but of another log, or of none.
"""

import asyncio
import logging

import pytest
from redis.asyncio import Redis

from relay.exceptions import SessionDeleted
from relay.layers.redis.foreign import REPORT_SECONDS, ForeignMessages
from relay.layers.values import new_id
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.protocol.frames import FrameKind, ReplayGap
from relay.testing.turns import LIMIT_SECONDS, S, cursor_at, say, start, stop, tailing
from tests import scraping
from tests.faults.watches import subscriber_of, waits, watch_of

FOREIGN = new_id()
TOKEN = f"{FrameKind.TOKEN.value}{new_id()}\nforged"
BY_EPOCH = {
    "a token": f"{FOREIGN}\n{{offset}}\n{TOKEN}",
    "a token that was sent before": f"{FOREIGN}\n0\n{TOKEN}",
    "tokens": f"{FOREIGN}\n{{offset}}\n{TOKEN}\x1e{TOKEN}",
    "a new epoch": f"!epoch\n{FOREIGN}",
    "a deletion": f"!deleted\n{FOREIGN}",
    "a cancel": f"!cancel\n{FOREIGN}\n{{turn_id}}",
}
BY_FORMAT = {
    "an offset without its epoch": f"{{offset}}\n{TOKEN}",
    "an empty epoch": f"\n{{offset}}\n{TOKEN}",
    "an epoch without its offset": f"{FOREIGN}\n{TOKEN}",
    "our epoch without an offset": f"{{epoch}}\n{TOKEN}",
    "our epoch with a frame of no kind": "{epoch}\n{offset}\nzturn\nforged",
    "our epoch with no frame": "{epoch}\n{offset}\n",
    "a deletion without an epoch": "!deleted\n",
    "a deletion as it was before": "!deleted",
    "a cancel without an epoch": "!cancel\n\n{turn_id}",
    "an epoch of no name": "!epoch\n",
    "nothing": "",
    "bytes": b"\xff\xfe\n{offset}\n\x80",
}
ALL = [(text, "epoch") for text in BY_EPOCH.values()] + [(text, "format") for text in BY_FORMAT.values()]
NAMES = [*BY_EPOCH, *BY_FORMAT]


class Forger:
    """Somebody who may publish on the store."""

    def __init__(self, redis, layer, turn):
        self._redis = redis
        self._layer = layer
        self._turn = turn

    async def publish(self, text):
        store = self._layer._store
        newest = (await self._layer.ensure(S)).newest
        fields = {"epoch": self._turn.epoch, "offset": newest, "turn_id": self._turn.turn_id}
        data = text if isinstance(text, bytes) else text.format(**fields)
        assert await self._redis.spublish(store.keys.of_session(S).names.channel, data) > 0
        await store.check_announcements()  # on the same connection: what was published before has been heard


@pytest.fixture
async def workers(valkey, open_layer):
    """One that runs the turn, one where a viewer is."""
    return await open_layer(valkey.url), await open_layer(valkey.url)


@pytest.fixture
async def turn(workers):
    return await start(workers[0])


@pytest.fixture
async def forger(valkey, workers, turn):
    async with Redis.from_url(valkey.url) as redis:
        yield Forger(redis, workers[1], turn)


@pytest.fixture
def counted():
    """How many foreign messages there were since the test began, by how they were found."""
    before = scraping.here()
    return lambda by: scraping.here().since(before)[f'gateway_pubsub_foreign_total{{found_by="{by}"}}']


async def sees_nothing_but(tail, layer, turn):
    """Append and end: the viewer sees that, after its first frame, and nothing else."""
    await say(layer, turn, "a")
    await say(layer, turn, "b")
    await stop(layer, turn)
    await tail.until(lambda: "final:stop" in tail.shown or tail.error)
    assert (tail.shown, tail.offsets) == (["user:hi", "token:a", "token:b", "final:stop"], [1, 2, 3, 4])


@pytest.mark.parametrize(("text", "found_by"), ALL, ids=NAMES)
@pytest.mark.parametrize("takes", [False, True], ids=["woken", "offered"])
async def test_what_is_forged_reaches_no_viewer(workers, turn, forger, counted, text, found_by, takes):
    layer, viewer = workers
    async with tailing(viewer, await cursor_at(viewer, 0), takes=takes) as tail:
        await tail.has(1)
        await waits(viewer)
        for _ in range(3):
            await forger.publish(text)
            await waits(viewer)  # it has read the log, which knows better
        assert counted(found_by) == 3
        await sees_nothing_but(tail, layer, turn)


@pytest.mark.parametrize(("text", "found_by"), ALL, ids=NAMES)
async def test_what_is_forged_where_the_turn_runs_reaches_no_viewer(valkey, open_layer, text, found_by):
    """There the store's replies show the frames; the position is known from them alone."""
    layer = await open_layer(valkey.url)
    turn = await start(layer)
    async with Redis.from_url(valkey.url) as redis, tailing(layer, await cursor_at(layer, 0)) as tail:
        await tail.has(1)
        await waits(layer)
        await say(layer, turn, "x")
        await tail.has(2)
        await waits(layer)
        await Forger(redis, layer, turn).publish(text)
        await say(layer, turn, "a")
        await stop(layer, turn)
        await tail.has(4)
        assert (tail.shown[1:], tail.offsets) == (["token:x", "token:a", "final:stop"], [1, 2, 3, 4])


async def test_a_cursor_of_a_foreign_epoch_is_a_gap_though_its_frames_were_announced(workers, turn, forger):
    """A client names the epoch that it wants: what was announced under it is not the log."""
    _, viewer = workers
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.has(1)
        for epoch in (FOREIGN, ""):
            await forger.publish(f"{epoch}\n0\n{TOKEN}")
            async with tailing(viewer, Cursor(epoch, 0)) as other:
                assert isinstance(await other.raises(), ReplayGap)
                assert other.frames == []


async def test_frames_announced_before_anybody_has_read_the_log_wait_for_the_logs_word(workers, turn, forger):
    """Nothing is known of the session yet: a foreign announcement comes first."""
    layer, viewer = workers
    async with viewer._store.open_feed(S):
        for offset in (0, 1, 2):
            await forger.publish(f"{FOREIGN}\n{offset}\n{TOKEN}")
        for cursor in (UNKNOWN, Cursor(FOREIGN, 0), Cursor(FOREIGN, 2), Cursor(FOREIGN, 3)):
            async with tailing(viewer, cursor) as lost:
                assert isinstance(await lost.raises(), ReplayGap)
                assert lost.frames == []
        async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
            await tail.has(1)
            await sees_nothing_but(tail, layer, turn)


async def test_a_foreign_cancel_does_not_wake_who_waits_for_ours(workers, turn, forger):
    layer, _ = workers
    waiting = asyncio.create_task(layer.wait_cancelled(turn))
    async with asyncio.timeout(LIMIT_SECONDS):
        while not ((watch := layer._store.watched(S)) and watch._cancel_waiters):
            await asyncio.sleep(0)
    for text in (BY_EPOCH["a cancel"], BY_EPOCH["a deletion"], BY_FORMAT["a cancel without an epoch"]):
        await forger.publish(text)
    await layer._store.check_announcements()
    assert not waiting.done()
    await layer.cancel(S)
    await asyncio.wait_for(waiting, LIMIT_SECONDS)


async def test_a_log_that_starts_again_is_not_foreign(workers, turn, counted):
    """Deleted, and started again: whichever announcement comes late, none is taken for a stranger's."""
    layer, viewer = workers
    for _ in range(3):
        async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
            await tail.has(1)
            await layer.delete(S)
            assert isinstance(await tail.raises(), SessionDeleted)
        turn = await start(layer)
        async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
            await layer.reset(turn, "text")
            await tail.raises()
            await viewer._store.check_announcements()
        await layer.delete(S)
        turn = await start(layer)
    assert counted("epoch") == counted("format") == 0


async def test_a_log_that_starts_again_twice_is_not_foreign(valkey, workers, turn, counted):
    """A store has lost its data: a viewer starts the log again, then its turn's owner, who is announced late."""
    layer, viewer = workers
    announced = asyncio.Queue()
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.has(1)
        await waits(viewer)
        subscriber = subscriber_of(viewer)
        deliver, subscriber._on_message = subscriber._on_message, lambda *message: announced.put_nowait(message)
        valkey.command("FLUSHALL")
        watch_of(viewer).lose_position()
        assert isinstance(await tail.raises(), ReplayGap)
    async with asyncio.timeout(LIMIT_SECONDS):
        deliver(*await announced.get())
        await layer.reset(turn, "text")
        async with tailing(viewer, await cursor_at(viewer, 1)):
            await waits(viewer)
            deliver(*await announced.get())
            await waits(viewer)
    assert counted("epoch") == 0


async def test_what_comes_late_from_the_life_before_is_neither_sent_nor_foreign(workers, turn, forger, counted):
    """The store's reply names the new epoch, and overtakes what was announced in the old one."""
    layer, viewer = workers
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.has(1)
        await layer.delete(S)
        await tail.raises()
    again = await start(layer)
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.has(1)
        await waits(viewer)
        for text in ("!epoch\n{epoch}", "{epoch}\n{offset}\n" + TOKEN, "!deleted\n{epoch}"):
            await forger.publish(text)  # of the former turn's epoch
        await sees_nothing_but(tail, layer, again)
    assert counted("epoch") == counted("format") == 0


async def test_a_denied_epoch_is_not_asked_about_again(workers, turn, forger, counted):
    """A foreign deployment announces each of its tokens: the log is read for the first one only."""
    _, viewer = workers
    async with tailing(viewer, await cursor_at(viewer, 0)) as tail:
        await tail.has(1)
        await waits(viewer)
        await forger.publish(BY_EPOCH["a token"])
        await waits(viewer)
        reads = scraping.here()['gateway_store_call_duration_seconds_count{call="read"}']
        for _ in range(10):
            await forger.publish(BY_EPOCH["a token"])
        assert scraping.here()['gateway_store_call_duration_seconds_count{call="read"}'] == reads
        assert counted("epoch") == 11
        assert watch_of(viewer)._waiters._subscribers


async def test_a_foreign_message_does_not_end_groups_and_channels(valkey, workers, counted):
    """Not of msgpack, or no dict: the receiver passes it over, and goes on to hear its own."""
    layer, peer = workers
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    wire = [f"relay:0:channels:{name}" for name in (channel, "__group__group")]
    receiving = asyncio.create_task(layer.receive(channel))
    async with Redis.from_url(valkey.url) as redis, asyncio.timeout(LIMIT_SECONDS):
        while 0 in dict(await redis.pubsub_numsub(*wire)).values():
            await asyncio.sleep(0)
        for name in wire:
            for data in (b"", b"\xc1", b"\x05", b"text"):
                await redis.publish(name, data)
        await peer.group_send("group", {"type": "ours"})
        assert await receiving == {"type": "ours"}
        await peer.send(channel, {"type": "ours too"})
        assert await layer.receive(channel) == {"type": "ours too"}
    assert counted("format") == 8


def test_it_is_logged_once_a_minute(caplog):
    moments = iter([0.0, 0.0, 1.0, REPORT_SECONDS - 0.1, REPORT_SECONDS, REPORT_SECONDS])
    foreign = ForeignMessages(clock=lambda: next(moments))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            foreign.report("session s", "epoch")
        assert len(caplog.records) == 1
        assert "session s" in caplog.text
        assert "GATEWAY__REDIS_PREFIX" in caplog.text
        foreign.report("session s", "format")
    assert len(caplog.records) == 2
