"""What a session layer does while its store is away, and after."""

import asyncio
import itertools
import re
import signal
import time

import pytest
from redis.asyncio import Redis

from relay.delivery import timeouts
from relay.exceptions import LeaseLost, StoreUnavailable
from relay.layers.redis.values import EpochDeleted
from relay.protocol.cursor import Cursor
from relay.protocol.frames import ReplayGap
from relay.testing.turns import S, claim, cursor_at, enqueue, gap_at, log, say, start, stop, tailing, tokens
from tests import scraping
from tests.faults.conftest import until_served
from tests.faults.gate import Gate
from tests.faults.valkey import Valkey
from tests.faults.watches import make_deaf, subscriber_of, waits

LEASE_SECONDS = 4.0  # where a test waits until it has lapsed
PATIENT_LEASE_SECONDS = 60.0  # where it must not lapse, however slow the machine is


@pytest.fixture
def persistent():
    with Valkey(persistent=True) as valkey:
        yield valkey


@pytest.fixture
def volatile():
    with Valkey() as valkey:
        yield valkey


@pytest.fixture
def open_layer(open_layer):
    return lambda valkey, lease_seconds=PATIENT_LEASE_SECONDS, **bounds: open_layer(
        valkey.url, lease_seconds=lease_seconds, **bounds
    )


async def watched_turn(layer, peer):
    turn = await start(layer)
    return turn, tailing(peer, await cursor_at(peer, 0))


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
async def test_a_cut_connection_loses_and_doubles_nothing(volatile, open_layer, kind):
    layer, peer = await open_layer(volatile), await open_layer(volatile)
    turn, tail = await watched_turn(layer, peer)
    async with tail as tail:
        for i in range(20):
            await say(layer, turn, str(i))
            if i % 5 == 0:
                volatile.command("CLIENT", "KILL", "TYPE", kind)
        await stop(layer, turn)
        await tail.has(22)
        assert tail.offsets == list(range(1, 23))


async def test_appends_wait_while_the_store_restarts_with_its_data(persistent, open_layer):
    layer, peer = await open_layer(persistent), await open_layer(persistent)
    turn, tail = await watched_turn(layer, peer)
    async with tail as tail:
        await say(layer, turn, "a")
        persistent.kill()
        waiting = asyncio.create_task(say(layer, turn, "b"))
        await asyncio.to_thread(persistent.start)
        assert await waiting == 3
        await stop(layer, turn)
        await tail.has(4)
        assert tail.shown == ["user:hi", "token:a", "token:b", "final:stop"]


async def test_a_store_that_comes_back_empty_is_noticed_and_reset(volatile, open_layer):
    layer, peer = await open_layer(volatile), await open_layer(volatile)
    turn, tail = await watched_turn(layer, peer)
    async with tail as tail:
        await say(layer, turn, "a")
        await tail.has(2)
        cursor = await cursor_at(peer, 2)
        volatile.kill()
        await asyncio.to_thread(volatile.start)
        with pytest.raises(LeaseLost):
            await say(layer, turn, "b")
        await layer.reset(turn, "ab")
        assert isinstance(await tail.raises(), ReplayGap)
    snapshot = await gap_at(peer, cursor)
    assert (snapshot.text, snapshot.reason) == ("ab", "epoch_changed")


async def test_a_dead_line_is_noticed_however_many_sessions_come_and_go(volatile, open_layer):
    peer = await open_layer(volatile)
    async with Gate(volatile.port) as gate:
        layer = await open_layer(gate, LEASE_SECONDS)
        turn = await start(peer)
        async with tailing(layer, await cursor_at(peer, 0)) as tail:
            await tail.has(1)
            await layer.get(S)  # behind the tail's own look
            await say(peer, turn, "a")
            await tail.has(2)
            gate.shut()
            await say(peer, turn, "b")
            await gate.has_lost.wait()
            coming = asyncio.create_task(_watch_more_and_more(layer))
            gate.open()
            await tail.has(3)
            coming.cancel()


async def _watch_more_and_more(layer):
    for number in itertools.count():
        subscriber_of(layer).add(layer._store.keys.of_session(f"other-{number}").names.channel)
        await asyncio.sleep(LEASE_SECONDS / 10)


async def test_a_process_that_stood_still_does_not_blame_the_store(volatile, open_layer):
    layer, peer = await open_layer(volatile, LEASE_SECONDS), await open_layer(volatile, LEASE_SECONDS)
    turn, tail = await watched_turn(layer, peer)
    async with tail as tail:
        await tail.has(1)
        time.sleep(1.5 * LEASE_SECONDS)  # nothing in this process runs, as after a SIGSTOP
        await say(layer, turn, "a")
        await tail.has(2)
        assert tail.shown == ["user:hi", "token:a"]


@pytest.mark.parametrize("is_connected", [False, True], ids=["connecting", "asking"])
async def test_a_process_that_stood_still_gives_up_no_call(volatile, open_layer, is_connected):
    layer = await open_layer(volatile, LEASE_SECONDS)
    if is_connected:
        await layer.get(S)
    volatile.signal(signal.SIGSTOP)
    calls = []
    for _ in range(2):  # the second waits for the first one's exchange
        calls.append(asyncio.create_task(layer.get(S)))
        for _ in range(10):
            await asyncio.sleep(0)
    volatile.signal(signal.SIGCONT)
    time.sleep(1.5 * LEASE_SECONDS)
    assert await asyncio.gather(*calls) == [None, None]


async def test_a_full_store_makes_calls_wait_until_there_is_room(volatile, open_layer):
    layer = await open_layer(volatile)
    turn = await start(layer)
    volatile.command("CONFIG", "SET", "maxmemory", "1")
    waiting = [asyncio.create_task(say(layer, turn, "a")), asyncio.create_task(enqueue(layer, "next"))]
    assert (await layer.get(S)).active_turn_id == turn.turn_id
    volatile.command("CONFIG", "SET", "maxmemory", "0")
    assert (await waiting[0], (await waiting[1]).status) == (2, "queued")


@pytest.mark.parametrize("times", [1, 2])
async def test_a_deleted_session_is_no_lost_one(volatile, open_layer, times):
    layer = await open_layer(volatile)
    turn = await start(layer)
    cursor = await cursor_at(layer, 0)
    for _ in range(times):
        await layer.attach(S, "viewer")
        assert await layer.delete(S)
    with pytest.raises(LeaseLost):
        await layer.reset(turn, "a")
    assert await layer.get(S) is None
    with pytest.raises(EpochDeleted):
        await layer.read(S, cursor, 10)


async def test_a_full_store_takes_no_new_session(volatile, open_layer):
    layer = await open_layer(volatile, LEASE_SECONDS)
    await layer.get(S)
    volatile.command("CONFIG", "SET", "maxmemory", "1")
    calls = layer.attach(S, "viewer"), layer.ensure(S), enqueue(layer)
    refused = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(refusal) for refusal in refused] == [StoreUnavailable] * 3
    volatile.command("CONFIG", "SET", "maxmemory", "0")
    assert await layer.get(S) is None


async def test_a_full_store_hands_out_no_turn_until_there_is_room(volatile, open_layer):
    """Nothing of its answer could be stored, so the agent must not be asked."""
    layer = await open_layer(volatile, LEASE_SECONDS)
    await enqueue(layer)
    volatile.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable):
        await claim(layer)
    volatile.command("CONFIG", "SET", "maxmemory", "0")
    assert (await layer.get(S)).queued
    assert (await claim(layer)).message["content"] == "hi"


async def test_a_full_store_lets_sessions_be_deleted(volatile, open_layer):
    layer = await open_layer(volatile)
    await start(layer)
    volatile.command("CONFIG", "SET", "maxmemory", "1")
    assert await layer.delete(S)


async def test_a_freeze_shorter_than_the_lease_loses_and_doubles_nothing(volatile, open_layer):
    layer, peer = await open_layer(volatile, 8), await open_layer(volatile, 8)
    turn, tail = await watched_turn(layer, peer)
    async with tail as tail:
        before = scraping.here()
        volatile.signal(signal.SIGSTOP)
        saying = asyncio.create_task(say(layer, turn, "0"))
        async with asyncio.timeout(60):  # it is repeated after half a lease
            while not scraping.here().since(before)["gateway_store_calls_repeated_total"]:
                await asyncio.sleep(0.05)
        volatile.signal(signal.SIGCONT)
        await saying
        for i in range(1, 5):
            await say(layer, turn, str(i))
        await stop(layer, turn)
        await tail.has(7)
        assert tail.offsets == list(range(1, 8))


async def test_beyond_the_lease_writers_and_viewers_are_told_and_everything_goes_on_after(persistent, open_layer):
    layer, peer = await open_layer(persistent, LEASE_SECONDS), await open_layer(persistent, LEASE_SECONDS)
    turn, tail = await watched_turn(layer, peer)
    async with tail as tail:
        await tail.has(1)
        cursor = await cursor_at(peer, 1)
        persistent.kill()
        with pytest.raises(StoreUnavailable):
            await say(layer, turn, "a")
        assert isinstance(await tail.raises(), StoreUnavailable)
        with pytest.raises(StoreUnavailable):
            await enqueue(layer)
        await asyncio.to_thread(persistent.start)
        async with asyncio.timeout(60):
            await until_served(peer.check_announcements)
            await stop(layer, turn)
            async with tailing(peer, cursor) as back:
                await back.has(1)
                assert back.shown == ["final:stop"]


async def test_beyond_the_lease_it_is_told_that_a_begun_append_came_to_nothing(persistent, open_layer):
    layer = await open_layer(persistent, LEASE_SECONDS)
    turn = await start(layer)
    persistent.kill()
    assert layer.append_nowait(turn, tokens(turn, "a"), pytest.fail)
    with pytest.raises(StoreUnavailable):
        await layer.wait_appended(turn)
    await asyncio.to_thread(persistent.start)
    assert await log(layer) == ["user:hi"]


async def test_a_lost_announcement_is_found_by_comparing_with_the_store(volatile, open_layer):
    layer, deaf = await open_layer(volatile), await open_layer(volatile)
    turn, tail = await watched_turn(layer, deaf)
    async with tail as tail:
        await tail.has(1)
        await waits(deaf)
        make_deaf(deaf)
        await say(layer, turn, "a")
        before = scraping.here()
        await deaf._store.compare()
        await tail.has(2)
        assert scraping.here().since(before)['gateway_pubsub_gaps_total{found_by="comparison"}'] == 1


async def test_scripts_that_the_store_has_forgotten_are_loaded_again(volatile, open_layer):
    layer = await open_layer(volatile)
    turn = await start(layer)
    volatile.command("SCRIPT", "FLUSH")
    assert await asyncio.gather(say(layer, turn, "a"), enqueue(layer)) is not None
    assert (await log(layer))[-1] == "token:a"


async def test_every_key_but_the_indexes_ends_by_itself(volatile, open_layer):
    layer = await open_layer(volatile)
    turn = await start(layer, client_message_id="one", subject="alice")
    await layer.attach(S, "viewer", "alice")
    await enqueue(layer, client_message_id="two")
    await say(layer, turn, *["x" * 100_000] * 60)  # over the bytes: text of trimmed tokens
    await layer.cancel(S)
    await layer.clear_queue(S)
    await stop(layer, turn)
    async with Redis.from_url(volatile.url) as redis:
        without = [key async for key in redis.scan_iter() if await redis.pttl(key) == -1]
    assert {re.sub(rb"\{\d+\}", b"{}", key) for key in without} <= {b"relay:0:{}:w", b"relay:0:{}:a", b"relay:0:{}:e"}


@pytest.mark.parametrize("waited_seconds", [0, 50_000])
async def test_a_claimed_session_is_kept_for_a_day_however_long_it_has_waited(volatile, open_layer, waited_seconds):
    layer = await open_layer(volatile)
    await enqueue(layer)
    names = layer._store.keys.of_session(S).names
    async with Redis.from_url(volatile.url) as redis:
        kept = [key async for key in redis.scan_iter(f"*:{S}")]
        assert names.session.encode() in kept
        await redis.hincrbyfloat(names.session, "touched", -waited_seconds)
        for key in kept:
            await redis.pexpire(key, await redis.pttl(key) - 1_000 * waited_seconds)
        assert await claim(layer) is not None
        kept = [key async for key in redis.scan_iter(f"*:{S}")]
        assert names.log.encode() in kept
        day = 86_400_000
        assert [key for key in kept if await redis.pttl(key) < day - 60_000] == []


async def test_a_log_that_outlives_its_session_is_no_part_of_the_next(volatile, open_layer):
    layer = await open_layer(volatile, max_frames=4)
    turn = await start(layer)
    await say(layer, turn, *"abcdef")
    keys = layer._store.keys.of_session(S).names
    async with Redis.from_url(volatile.url) as redis:
        assert await redis.delete(keys.session)
        assert await redis.exists(keys.log, keys.text) == 2
    turn = await start(layer)
    assert (await gap_at(layer, Cursor("", 0))).text == ""
    await say(layer, turn, "x")
    await stop(layer, turn)
    assert await log(layer) == ["user:hi", "token:x", "final:stop"]


async def test_connections_stay_few_whatever_the_number_of_viewers(volatile, open_layer):
    layer = await open_layer(volatile)
    async with asyncio.timeout(60):
        states = await asyncio.gather(*(layer.ensure(f"session-{i}") for i in range(200)))
        tails = [layer.tail(state.session_id, _at(state)) for state in states for _ in range(3)]
        waiting = [asyncio.ensure_future(anext(tail)) for tail in tails]
        turns = []
        for state in states:
            turns.append(await start(layer, session_id=state.session_id))
        assert all([(await batch)[0].offset == 1 for batch in waiting])
        async with Redis.from_url(volatile.url) as redis:
            assert len(await redis.client_list()) - 1 <= 3
        await asyncio.gather(*(tail.aclose() for tail in tails))


def _at(state):
    return Cursor(state.epoch, state.newest)


async def test_a_process_that_stood_still_refuses_no_client(volatile, open_layer, monkeypatch):
    """Its time for the store is over, but the store has answered long ago."""
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.5)
    layer = await open_layer(volatile)
    await layer.get(S)
    call = asyncio.create_task(timeouts.within_store_timeout(layer.attach(S, "viewer")))
    for _ in range(10):
        await asyncio.sleep(0)
    time.sleep(2 * timeouts.STORE_SECONDS)
    assert await call == 1
