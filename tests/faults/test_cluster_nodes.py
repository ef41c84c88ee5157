"""A cluster whose nodes die, freeze, come and go, and give slots away in mid-answer: answers are whole."""

import asyncio
import socket
from functools import partial

import pytest

from relay.exceptions import LeaseLost, StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis import listing
from relay.layers.redis.buckets import TAGS, bucket_of, slot_of
from relay.layers.redis.connection import pack
from relay.layers.redis.frames import encode
from relay.layers.redis.layer import RedisSessionLayer
from relay.layers.redis.nodes import MAX_MOVES
from relay.layers.redis.scripts import Scripts
from relay.layers.values import Viewer
from relay.protocol import frames
from relay.tasks import cancel_and_wait
from relay.testing.turns import LIMIT_SECONDS, answer, cursor_at, enqueue, log, say, start, stop, tailing
from tests.faults.conftest import until_served
from tests.faults.test_store_rights import refusal
from tests.faults.valkey_cluster import ValkeyCluster
from tests.faults.watches import make_deaf

LEASE_SECONDS = 60.0  # what has to succeed is waited for, however slow the machine is; half of it is one exchange
FROZEN_LEASE_SECONDS = 10.0  # that a node is frozen is noticed after half a lease
SHORT_LEASE_SECONDS = 2.0
SLEEP_SECONDS = 5  # longer than this process may stand still, before it freezes a node that sleeps
DISAGREEMENT = "announcements do not arrive: the nodes of its cluster disagree about which of them serves a slot"
NO_SERVER = "no server is listening at its address"
SESSIONS = [f"session-{number}" for number in range(60)]


def slot(session_id):
    return slot_of(TAGS[bucket_of(session_id)])


@pytest.fixture
def cluster():
    with ValkeyCluster("--enable-debug-command", "yes") as cluster:
        yield cluster


@pytest.fixture
async def layers(request, cluster):
    """A worker and another one."""
    lease_seconds = getattr(request, "param", LEASE_SECONDS)
    layers = [RedisSessionLayer(cluster.url, Bounds(lease_seconds=lease_seconds)) for _ in range(2)]
    for layer in layers:
        await layer.start()
    yield layers
    for layer in layers:
        await layer.close()


def kept_by(cluster, node):
    """A session that a node keeps."""
    return next(session_id for session_id in SESSIONS if cluster.primary_of(slot(session_id)) is node)


async def replica_has(cluster, primary):
    """Wait until all that was written has reached the replica: a failover loses the rest."""
    await asyncio.to_thread(primary.say, "WAIT", 1, 0)


async def test_an_answer_goes_on_at_the_promoted_replica(cluster, layers):
    layer, peer = layers
    primary, other = cluster.primaries()[:2]
    replica = cluster.replica_of(primary)
    session_id, healthy = kept_by(cluster, primary), kept_by(cluster, other)
    turn = await start(layer, session_id=session_id)
    async with tailing(peer, await cursor_at(peer, 0, session_id), session_id) as tail:
        assert await say(layer, turn, "a") == 2
        await replica_has(cluster, primary)
        primary.kill()
        saying = asyncio.create_task(say(layer, turn, "b"))
        await answer(layer, "hi", "x", session_id=healthy)
        assert await log(peer, healthy) == ["user:hi", "token:x", "final:stop"]
        assert not saying.done(), "the other session did not wait"
        await asyncio.to_thread(cluster.until_promoted, replica)
        assert await saying == 3
        await stop(layer, turn)
        await tail.until(lambda: len(tail.frames) == 4)
        assert tail.shown == ["user:hi", "token:a", "token:b", "final:stop"]


@pytest.mark.parametrize("layers", [FROZEN_LEASE_SECONDS], indirect=True)
async def test_a_thawed_primary_disturbs_nothing(cluster, layers):
    layer, peer = layers
    primary = cluster.primaries()[0]
    replica, session_id = cluster.replica_of(primary), kept_by(cluster, primary)
    turn = await start(layer, session_id=session_id)
    async with tailing(peer, await cursor_at(peer, 0, session_id), session_id) as tail:
        await say(layer, turn, "a")
        await replica_has(cluster, primary)
        primary.freeze()
        await asyncio.to_thread(cluster.until_promoted, replica)
        assert await say(layer, turn, "b") == 3
        primary.thaw()
        await asyncio.to_thread(cluster.settle)
        await say(layer, turn, "c")
        await stop(layer, turn)
        await tail.until(lambda: len(tail.frames) == 5)
        assert tail.shown == ["user:hi", "token:a", "token:b", "token:c", "final:stop"]
    assert await log(peer, session_id) == tail.shown


@pytest.mark.parametrize("layers", [FROZEN_LEASE_SECONDS], indirect=True)
async def test_what_a_thawed_primary_announces_reaches_no_viewer(cluster, layers):
    """It does what was sent to it while it was frozen, and its announcements reach the subscribers of its successor."""
    layer, peer = layers
    primary = cluster.primaries()[0]
    replica, session_id = cluster.replica_of(primary), kept_by(cluster, primary)
    turn = await start(layer, session_id=session_id)
    cursor = await cursor_at(peer, 0, session_id)
    channel = layer._store.keys.of_session(session_id).names.channel
    stale = f"{cursor.epoch}\n3\n{encode(frames.token('another turn', 'x'))}"
    with socket.create_connection(("127.0.0.1", primary.port), timeout=LIMIT_SECONDS) as line:
        async with tailing(peer, cursor, session_id) as tail:
            await say(layer, turn, "a")
            await replica_has(cluster, primary)
            # It has read both commands when it is frozen within the first one, so it does the second before it is told
            # by the others that it was replaced.
            announce = pack("EVAL", Scripts(Bounds())["announce"].text, 1, channel, stale)
            line.sendall(pack("DEBUG", "SLEEP", SLEEP_SECONDS) + announce)
            primary.freeze()
            await asyncio.to_thread(cluster.until_promoted, replica)
            assert await say(layer, turn, "b") == 3
            await tail.has(3)
            primary.thaw()
            replies = await asyncio.to_thread(line.makefile("rb").read, len(b"+OK\r\n:1\r\n"))
            assert replies == b"+OK\r\n:1\r\n", "it was told that it was replaced"
            await asyncio.to_thread(cluster.settle)
            await say(layer, turn, "c")
            await stop(layer, turn)
            await tail.until(lambda: len(tail.frames) == 5)
            assert tail.shown == ["user:hi", "token:a", "token:b", "token:c", "final:stop"]


async def test_a_slot_that_moves_key_by_key_in_mid_answer(cluster, layers):
    layer, peer = layers
    source, target = cluster.primaries()[:2]
    session_id, elsewhere = kept_by(cluster, source), kept_by(cluster, target)
    turn = await start(layer, session_id=session_id)
    async with tailing(peer, await cursor_at(peer, 0, session_id), session_id) as tail:
        await say(layer, turn, "a")
        calls = []
        for _ in cluster.migrate_slot(slot(session_id), target):
            if not calls or calls[-1].done():
                calls.append(asyncio.create_task(say(layer, turn, f"{len(calls)}")))
            await answer(layer, session_id=elsewhere)  # which waits for nothing
        await asyncio.gather(*calls)
        await stop(layer, turn)
        whole = ["user:hi", "token:a", *(f"token:{number}" for number in range(len(calls))), "final:stop"]
        await tail.until(lambda: len(tail.frames) == len(whole))
        assert tail.shown == whole
    assert await log(peer, session_id) == whole
    assert cluster.primary_of(slot(session_id)) is target


async def test_viewers_follow_a_slot_to_a_node_that_was_added_and_is_taken_away(cluster, layers):
    """The viewer's process calls nothing: that the slot has moved it hears from its subscription alone."""
    layer, peer = layers
    session_id = SESSIONS[0]
    turn = await start(layer, session_id=session_id)
    async with tailing(peer, await cursor_at(peer, 0, session_id), session_id) as tail:
        await say(layer, turn, "a")
        await tail.has(2)
        node = await asyncio.to_thread(cluster.add_node)
        first = slot(session_id) // 64 * 64
        await asyncio.to_thread(cluster.move_slots, first, first + 63, node)
        await say(layer, turn, "b")
        await tail.has(3)
        await asyncio.to_thread(cluster.remove_node, node)
        await say(layer, turn, "c")
        await stop(layer, turn)
        await tail.until(lambda: len(tail.frames) == 5)
        assert tail.shown == ["user:hi", "token:a", "token:b", "token:c", "final:stop"]


async def test_a_frozen_node_delays_only_its_own_sessions(cluster, layers):
    layer, peer = layers
    node, other = cluster.primaries()[:2]
    frozen, healthy = kept_by(cluster, node), kept_by(cluster, other)
    waiting_turn = await start(layer, session_id=frozen)
    node.freeze()
    try:
        waiting = asyncio.create_task(say(layer, waiting_turn, "a"))
        turn = await start(layer, session_id=healthy)
        async with tailing(peer, await cursor_at(peer, 0, healthy), healthy) as tail:
            await say(layer, turn, "a")
            await stop(layer, turn)
            await tail.has(3)
        await enqueue(layer, "next", session_id=healthy)
        assert not waiting.done()
    finally:
        node.thaw()
    assert await waiting == 2


@pytest.mark.parametrize("layers", [FROZEN_LEASE_SECONDS], indirect=True)
async def test_viewers_are_kept_attached_although_another_node_is_frozen(cluster, layers):
    layer, peer = layers
    frozen, other = cluster.primaries()[:2]
    stuck, healthy = Viewer(kept_by(cluster, frozen), "stuck"), Viewer(kept_by(cluster, other), "healthy")
    for viewer in (stuck, healthy):
        await layer.attach(*viewer)
    answers, answered = {}, asyncio.Event()

    def take(place, newest):
        answers[place] = newest
        answered.set()

    frozen.freeze()
    try:
        keeping = asyncio.create_task(layer.keep_attached([stuck, healthy, stuck], take))
        async with asyncio.timeout(LIMIT_SECONDS):
            await answered.wait()
        assert (list(answers), answers[1] is not None) == ([1], True)
        await cancel_and_wait(keeping)
        leaving = asyncio.create_task(layer.detach(stuck.session_id, stuck.name))
    finally:
        frozen.thaw()
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await leaving == 0
    assert list(answers) == [1], "a cancelled call answers no more"
    assert await peer.get(stuck.session_id) is None


async def test_a_lost_announcement_is_found_although_another_node_is_frozen(cluster, layers):
    layer, deaf = layers
    store = deaf._store
    node, other = cluster.primaries()[:2]
    frozen, healthy = kept_by(cluster, node), kept_by(cluster, other)
    await start(layer, session_id=frozen)
    turn = await start(layer, session_id=healthy)
    async with store.open_feed(frozen) as feed, tailing(deaf, await cursor_at(deaf, 0, healthy), healthy) as tail:
        await tail.has(1)
        feed.position = await cursor_at(deaf, 0, frozen)
        make_deaf(deaf, healthy)
        await say(layer, turn, "a")
        node.freeze()
        try:
            comparing = asyncio.create_task(store.compare())
            await tail.has(2)
            assert not comparing.done(), "the frozen node has not answered"
        finally:
            node.thaw()
        await asyncio.gather(comparing, return_exceptions=True)


async def test_what_a_failover_lost_is_noticed(cluster, layers):
    layer, peer = layers
    primary = cluster.primaries()[0]
    replica, session_id = cluster.replica_of(primary), kept_by(cluster, primary)
    turn = await start(layer, session_id=session_id)
    await replica_has(cluster, primary)
    replica.freeze()
    primary.say("CLIENT", "KILL", "TYPE", "replica")  # what follows does not reach it
    await say(layer, turn, "a")
    primary.kill()
    replica.thaw()
    await asyncio.to_thread(cluster.until_promoted, replica)
    with pytest.raises(LeaseLost):
        await say(layer, turn, "b")
    await layer.reset(turn, "ab")
    assert await log(peer, session_id) == ["error:buffer_lost"]


async def test_a_failover_ends_no_tail_although_the_old_primary_refuses_its_check(cluster, layers):
    store = layers[0]._store
    primary = cluster.primaries()[0]
    replica, session_id = cluster.replica_of(primary), kept_by(cluster, primary)
    await start(layers[0], session_id=session_id)
    await replica_has(cluster, primary)
    async with store.open_feed(session_id) as feed:
        node = store._nodes.of(feed.bucket)
        primary.kill()
        long_ago = [0.0] * len(store.keys.buckets)
        check = store._check_writes(node, store.buckets_by_node()[node], {feed.bucket}, long_ago)
        async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
            tasks.create_task(check)
            tasks.create_task(asyncio.to_thread(cluster.until_promoted, replica))
            await layers[0].get(session_id)  # at the promoted replica
        assert store._nodes.of(feed.bucket) is not node
        assert feed._endings == 0


@pytest.mark.parametrize("layers", [SHORT_LEASE_SECONDS], indirect=True)
async def test_a_node_without_a_replica_takes_only_its_own_sessions_along(cluster, layers, caplog):
    layer, _ = layers
    node, other = cluster.primaries()[:2]
    dead, healthy = kept_by(cluster, node), kept_by(cluster, other)
    await until_served(layer.check)
    cluster.replica_of(node).kill()
    node.kill()
    with pytest.raises(StoreUnavailable):
        await layer.get(dead)
    await until_served(lambda: answer(layer, "hi", "a", session_id=healthy))
    assert (await log(layer, healthy))[-3:] == ["user:hi", "token:a", "final:stop"]
    async with asyncio.timeout(LIMIT_SECONDS):
        while await refusal(layer.check) != f"1 of the 3 nodes of its cluster cannot be used: {NO_SERVER}":
            pass  # a slow moment of another one
    assert await until_served(partial(layer.pending, 10)) == []
    assert f"waiting sessions of a store not listed: {NO_SERVER}" in caplog.messages
    node.start()
    await until_served(lambda: answer(layer, session_id=dead))


async def without_one_node(make_list):
    """Make a list until only one node was too late for it: in a slow moment others are, too."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while (page := await until_served(make_list)).silent_nodes > 1:
            await asyncio.sleep(0.05)
    return page


async def test_lists_show_the_sessions_of_the_nodes_that_answer(cluster, layers, monkeypatch):
    layer, _ = layers
    node = cluster.primaries()[0]
    dead, *healthy = (kept_by(cluster, primary) for primary in cluster.primaries())
    await until_served(layer.check)
    for session_id in (dead, *healthy):
        await answer(layer, session_id=session_id)
    monkeypatch.setattr(listing, "STATES_SECONDS", LIMIT_SECONDS)
    node.freeze()
    for make_list in (partial(layer.busiest, 10), partial(layer.page, "", 10), partial(layer.page, "", 2)):
        page = await without_one_node(make_list)
        assert sorted(state.session_id for state in page.sessions) == sorted(healthy)
        assert page.is_all
        assert page.warning == "1 of 3 nodes of the store did not answer: sessions are missing."
    node.thaw()
    await until_served(lambda: layer.get(dead))
    async with asyncio.timeout(LIMIT_SECONDS):
        while (page := await until_served(partial(layer.page, "", 10))).warning:
            await asyncio.sleep(0.05)
    assert len(page.sessions) == 3


async def test_lists_of_a_node_that_dies_after_it_has_named_its_sessions(cluster, layers, monkeypatch):
    layer, _ = layers
    dead, *healthy = (kept_by(cluster, primary) for primary in cluster.primaries())
    await until_served(layer.check)
    for session_id in (dead, *healthy):
        await answer(layer, session_id=session_id)
    get = layer.get

    async def get_or_wait(session_id):
        if session_id == dead:
            await asyncio.Event().wait()
        return await get(session_id)

    monkeypatch.setattr(layer, "get", get_or_wait)
    for make_list in (partial(layer.busiest, 3), partial(layer.page, "", 3)):
        page = await without_one_node(make_list)
        assert sorted(state.session_id for state in page.sessions) == sorted(healthy)
        assert (page.nodes, page.silent_nodes) == (3, 1)


async def test_lists_fail_where_no_node_answers(cluster, layers):
    layer, _ = layers
    await until_served(layer.check)
    for node in cluster.nodes:
        node.freeze()
    for lists in (layer.busiest(3), layer.page("", 3)):
        with pytest.raises(StoreUnavailable):
            await lists


def refused_subscriptions(nodes):
    """How many subscriptions have these nodes sent to others?"""
    stats = [node.say("INFO", "commandstats") for node in nodes]
    return sum(each.get("cmdstat_ssubscribe", {}).get("rejected_calls", 0) for each in stats)


def questions(nodes):
    """How often were these nodes asked which of them serves what?"""
    stats = [node.say("INFO", "commandstats") for node in nodes]
    return sum(each.get("cmdstat_cluster|slots", {}).get("calls", 0) for each in stats)


async def test_nodes_that_send_a_subscription_to_each_other_are_asked_between_its_attempts(cluster, layers, caplog):
    layer, _ = layers
    store, session_id = layer._store, SESSIONS[0]
    await until_served(layer.check)
    one = cluster.primary_of(slot(session_id))
    other = next(node for node in cluster.primaries() if node is not one)
    for node, named in ((one, other), (other, one)):
        node.say("CLUSTER", "SETSLOT", slot(session_id), "NODE", named.id)
        node.say("CONFIG", "RESETSTAT")
    following = asyncio.create_task(store.acquire(session_id))
    async with asyncio.timeout(LIMIT_SECONDS):
        while DISAGREEMENT not in caplog.messages:
            await asyncio.sleep(0.05)
        while questions([one, other]) < 4:
            await asyncio.sleep(0.05)
    refused = refused_subscriptions([one, other])
    assert refused <= (MAX_MOVES + 1) * (questions(cluster.nodes) + 1)
    for node in (one, other):
        node.say("CLUSTER", "SETSLOT", slot(session_id), "NODE", one.id)
    store.release(await following)


async def test_the_nodes_are_found_when_the_first_of_the_address_is_away(cluster):
    await asyncio.to_thread(cluster.nodes[0].kill)
    layer = RedisSessionLayer(cluster.url, Bounds(lease_seconds=LEASE_SECONDS))
    await layer.start()
    async with asyncio.timeout(LIMIT_SECONDS):
        await answer(layer, "hi", "a", session_id=SESSIONS[0])
    await layer.close()
