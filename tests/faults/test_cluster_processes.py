"""Two gateways over a cluster whose nodes die, freeze, come and go: answers are whole, and others do not wait.

That a session at another node does not wait is an order of events: its answer is whole before the node is back.
"""

import asyncio
import re
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from urllib.parse import urlencode

import pytest

from relay.layers.redis.buckets import SLOTS, TAGS, bucket_of, slot_of
from relay.layers.values import new_id
from relay.protocol.frames import CloseCode
from tests import processes
from tests.clients import LIMIT_SECONDS, text_of
from tests.faults.conftest import running_gateways
from tests.faults.node_gates import UNKNOWN_HOSTS, NodeGates
from tests.faults.valkey_cluster import ValkeyCluster

RUNNER, OTHER = 0, 1  # the gateway that is asked, and so runs the turn; the one that only watches
TOKENS = 20
HALF_TEXT, WHOLE_TEXT = ("".join(f"{number} " for number in range(count)) for count in (TOKENS // 2, TOKENS))
BEFORE = "what was said before"
CROWD = 100
OUT_OF_REACH = "The gateway cannot reach its store."
SETTINGS = {"LEASE_SECONDS": "20", "DRAIN_SECONDS": "0"}  # what breaks for a moment does so within a lease


@pytest.fixture(scope="module")
def nodes():
    with ValkeyCluster(*UNKNOWN_HOSTS, persistent=True) as nodes:
        yield nodes


@pytest.fixture(scope="module", params=processes.servers_under_test("serve"))
def running(request, nodes, scripted_agent):
    with running_gateways(request.param, scripted_agent, nodes, [nodes.url] * 2, **SETTINGS) as running:
        yield running


@pytest.fixture
async def gateways(running, nodes):
    """Gateways that all tests share; the nodes are well again after each."""
    yield running
    for node in nodes.nodes[:6]:  # a test adds others, and takes them away for good
        await asyncio.to_thread(node.revive)
    await asyncio.to_thread(nodes.settle)


@pytest.fixture(params=processes.servers_under_test("serve"))
async def gated(request, nodes, scripted_agent):
    """Gateways behind gates of their own, and the gates."""
    async with NodeGates(nodes, "127.0.0.2") as runner, NodeGates(nodes, "127.0.0.3") as other:
        urls = [runner.url, other.url]
        with running_gateways(request.param, scripted_agent, nodes, urls, **SETTINGS) as gateways:
            yield gateways, [runner, other]


def slot(session_id):
    return slot_of(TAGS[bucket_of(session_id)])


def session_at(nodes, node):
    """Name a new session that a node keeps."""
    while nodes.primary_of(slot(session_id := new_id())) is not node:
        pass
    return session_id


class Watched:
    """A session with a viewer at each gateway, and what they have seen of its answer, up to the cursor."""

    def __init__(self, gateways, session_id, browsers, epoch):
        self.session_id = session_id
        self.browsers = browsers
        self.cursor = {"epoch": epoch, "offset": 0}
        self._gateways = gateways
        self._gate = ""
        self._seen = ["", ""]

    async def ask(self):
        """Ask for a long answer, and wait until both have seen its first half."""
        self._gate, self._seen = new_id(), ["", ""]
        script = f"script:tokens {TOKENS} delay=0.02 gate={self._gate} last={self._gate}-last"
        await self.browsers[RUNNER].say(script)
        await self._have_seen(HALF_TEXT)

    async def go_on_to_the_end(self):
        """Let the answer go on, and wait until both have seen all of its text, but not that this was all."""
        self._gateways.open_gate(self._gate)
        await self._have_seen(WHOLE_TEXT)

    async def _have_seen(self, text):
        for number, browser in enumerate(self.browsers):
            while self._seen[number] != text:
                frame = await browser.frame()
                assert frame["type"] in ("accepted", "user_message", "assistant_message", "ping"), frame
                assert not frame.get("is_final"), frame
                self._seen[number] += text_of([frame])
                self.cursor["offset"] = frame.get("offset", self.cursor["offset"])

    def go_on(self):
        self._gateways.open_gate(self._gate)
        self._gateways.open_gate(f"{self._gate}-last")

    async def is_whole(self, gateway):
        """Wait for the answer's end at one gateway."""
        frames = await self.browsers[gateway].turn()
        assert frames[-1].get("finish_reason") == "stop", frames[-1]
        assert self._seen[gateway] + text_of(frames) == WHOLE_TEXT

    async def are_whole(self):
        for gateway in (RUNNER, OTHER):
            await self.is_whole(gateway)

    async def answers(self):
        """A whole answer, from the question to its end, at both."""
        await self.ask()
        self.go_on()
        await self.are_whole()


@asynccontextmanager
async def watched(gateways, session_id):
    async with gateways.open(RUNNER, session_id) as asking, gateways.open(OTHER, session_id) as watching:
        welcome, _ = [await browser.frame_of("welcome") for browser in (asking, watching)]
        yield Watched(gateways, session_id, [asking, watching], welcome["epoch"])


async def test_an_answer_goes_on_at_the_replica_of_a_killed_primary_and_others_do_not_wait(gateways, nodes):
    primary, elsewhere = nodes.primaries()[:2]
    replica = nodes.replica_of(primary)
    async with (
        watched(gateways, session_at(nodes, primary)) as struck,
        watched(gateways, session_at(nodes, elsewhere)) as other,
    ):
        await struck.ask()
        await asyncio.to_thread(nodes.until_replicated, primary)
        primary.kill()
        struck.go_on()
        await other.answers()
        await asyncio.to_thread(nodes.until_promoted, replica)
        await struck.are_whole()
        assert nodes.primary_of(slot(struck.session_id)) is replica
        await struck.answers()
    assert gateways.asked(struck.session_id) == 2


async def snapshot_with_an_end(browser):
    """Wait for a snapshot that says how its turn ended; until then there are snapshots only."""
    while True:
        frame = await browser.frame()
        if frame["type"] != "ping":
            assert frame["type"] == "snapshot", frame
            if frame["finish_reason"] is not None and frame["content"] != BEFORE:
                return frame


@pytest.mark.parametrize("reached", ["half of the answer", "nothing of the turn"])
async def test_an_answer_that_a_failover_lost_ends_with_buffer_lost_once_for_every_viewer(gateways, nodes, reached):
    """A replica that is behind takes over: all viewers have seen more than it knows."""
    primary = nodes.primaries()[0]
    replica, session_id = nodes.replica_of(primary), session_at(nodes, primary)
    async with gateways.open_plain(OTHER, session_id) as plain, watched(gateways, session_id) as struck:
        assert await struck.browsers[RUNNER].ask(BEFORE) == await struck.browsers[OTHER].answer() == BEFORE
        if reached == "half of the answer":
            await struck.ask()
        await asyncio.to_thread(nodes.until_replicated, primary)
        nodes.hold_back(replica, primary)
        if reached == "nothing of the turn":
            await struck.ask()
        await struck.go_on_to_the_end()
        primary.kill()
        await asyncio.to_thread(nodes.take_over, replica)
        struck.go_on()
        for browser in struck.browsers:
            last = await snapshot_with_an_end(browser)
            assert (last["content"], last["error"]["code"]) == (WHOLE_TEXT, "buffer_lost")
            assert last["epoch"] != struck.cursor["epoch"]
        assert await plain.close_code() == CloseCode.TOO_SLOW
        for gateway in (RUNNER, OTHER):  # for viewers that come back with a cursor, and for new ones
            async with gateways.open(gateway, session_id, urlencode(struck.cursor)) as back:
                await back.frame_of("welcome")
                assert await snapshot_with_an_end(back) == last
            assert await end_of(gateways, gateway, session_id) == ("buffer_lost", "")
        await struck.answers()  # nothing else comes before
    assert gateways.asked(session_id) == 3


async def test_an_answer_whose_end_a_failover_lost_ends_once_more(nodes, scripted_agent):
    """The worker that ended it has forgotten it: for the store it is the answer of a worker that has died."""
    settings = {"LEASE_SECONDS": "10"}  # longer than the failover takes
    with running_gateways("serve", scripted_agent, nodes, [nodes.url] * 2, **settings) as gateways:
        await asyncio.to_thread(nodes.settle)
        primary = nodes.primaries()[0]
        replica, session_id = nodes.replica_of(primary), session_at(nodes, primary)
        async with watched(gateways, session_id) as struck:
            await struck.ask()
            await asyncio.to_thread(nodes.until_replicated, primary)
            nodes.hold_back(replica, primary)
            struck.go_on()
            await struck.are_whole()
            primary.kill()
            await asyncio.to_thread(nodes.take_over, replica)
            for browser in struck.browsers:
                snapshot = await browser.frame_of("snapshot")
                assert (snapshot["content"], snapshot["reason"]) == (HALF_TEXT, "epoch_changed")
                assert (await browser.frame_of("error"))["code"] == "interrupted"
            await asyncio.to_thread(primary.start)
            await struck.answers()
        assert gateways.asked(session_id) == 2


async def test_operators_see_the_sessions_of_the_nodes_that_answer(gateways, nodes):
    primary, other = nodes.primaries()[:2]
    dead, healthy = session_at(nodes, primary), session_at(nodes, other)
    for session_id in (dead, healthy):
        async with watched(gateways, session_id) as session:
            await session.answers()
    primary.freeze()
    env = {"GATEWAY_URL": gateways.gateways[OTHER].http_url, "GATEWAY__INTERNAL_API_KEY": processes.KEY}
    shown = ""
    async with asyncio.timeout(LIMIT_SECONDS):
        while healthy not in shown:  # on a slow machine other nodes may be late too, or all of them
            done = await asyncio.to_thread(processes.manage, "sessions", **env)
            missing = re.search("[12] of 3 nodes of the store did not answer: sessions are missing", done.stderr)
            assert missing if done.returncode == 0 else OUT_OF_REACH in done.stderr, done.stderr
            shown = done.stdout
    assert dead not in shown


async def test_a_slot_moves_key_by_key_in_mid_answer_and_others_do_not_wait(gateways, nodes):
    source, target = nodes.primaries()[:2]
    async with (
        watched(gateways, session_at(nodes, source)) as struck,
        watched(gateways, session_at(nodes, target)) as other,
    ):
        await struck.ask()
        moving = nodes.migrate_slot(slot(struck.session_id), target)
        assert await asyncio.to_thread(next, moving) == ""  # the nodes have agreed; no key has moved
        assert await asyncio.to_thread(next, moving)
        struck.go_on()
        await other.answers()  # while the keys are divided between two nodes
        assert await asyncio.to_thread(lambda: len(list(moving)))
        await struck.are_whole()
        await struck.answers()
    assert gateways.asked(struck.session_id) == 2


async def test_half_of_the_slots_move_while_a_hundred_answers_stream(gateways, nodes):
    target = nodes.primaries()[0]
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(watched(gateways, new_id())) for _ in range(CROWD)]
        await asyncio.gather(*(session.ask() for session in crowd))
        await asyncio.to_thread(nodes.move_slots, 0, SLOTS // 4 - 1, target)
        moving = asyncio.create_task(asyncio.to_thread(nodes.move_slots, SLOTS // 4, SLOTS // 2 - 1, target))
        for session in crowd:
            session.go_on()
        await asyncio.gather(*(session.are_whole() for session in crowd), moving)
    assert [gateways.asked(session.session_id) for session in crowd] == [1] * CROWD


async def test_an_answer_follows_its_slot_to_a_node_that_is_added_and_back_when_it_is_taken_away(gateways, nodes):
    async with watched(gateways, new_id()) as session:
        await session.ask()
        node = await asyncio.to_thread(nodes.add_node)
        await asyncio.to_thread(nodes.move_slots, slot(session.session_id), slot(session.session_id), node)
        session.go_on()
        await session.are_whole()
        await session.ask()
        assert nodes.primary_of(slot(session.session_id)) is node
        await asyncio.to_thread(nodes.remove_node, node)
        session.go_on()
        await session.are_whole()
    assert gateways.asked(session.session_id) == 2


async def test_a_frozen_node_delays_its_own_sessions_only(gateways, nodes):
    primary, elsewhere = nodes.primaries()[:2]
    async with (
        watched(gateways, session_at(nodes, primary)) as struck,
        watched(gateways, session_at(nodes, elsewhere)) as other,
    ):
        await struck.ask()
        primary.freeze()
        struck.go_on()
        await other.answers()
        primary.thaw()
        await struck.are_whole()
    assert gateways.asked(struck.session_id) == 1


async def end_of(gateways, gateway, session_id):
    """How the session's first answer ended, and its text, for a viewer that comes back."""
    await gateways.becomes_ready(gateway)
    async with gateways.open(gateway, session_id, "offset=0") as back:
        frames = await back.turn()
    return frames[-1].get("code") or frames[-1]["finish_reason"], text_of(frames)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "without a replica"])
@pytest.mark.parametrize("seconds", [3, 30])
async def test_a_long_freeze_ends_answers_once(nodes, scripted_agent, seconds, is_replaced):
    """Beyond the lease, which is the default's five seconds, an answer may end with an error that says why."""
    await asyncio.to_thread(nodes.settle)
    primary, elsewhere = nodes.primaries()[:2]
    with ExitStack() as stack:
        if is_replaced:
            stack.enter_context(nodes.failing_over())
        gateways = stack.enter_context(running_gateways("serve", scripted_agent, nodes, [nodes.url] * 2))
        async with (
            watched(gateways, session_at(nodes, primary)) as struck,
            watched(gateways, session_at(nodes, elsewhere)) as other,
        ):
            await struck.ask()
            await asyncio.to_thread(nodes.until_replicated, primary)
            primary.freeze()
            thawing = asyncio.create_task(asyncio.sleep(seconds))
            struck.go_on()
            while not thawing.done():
                await other.answers()
            primary.thaw()
            await asyncio.to_thread(nodes.settle)
        ends = [await end_of(gateways, gateway, struck.session_id) for gateway in (RUNNER, OTHER)]
        assert ends[0] == ends[1]
        ending, text = ends[0]
        print(f"frozen for {seconds} s, {is_replaced=}: {ending}")
        assert ending in ("stop", "store_unavailable", "interrupted", "buffer_lost")
        assert WHOLE_TEXT.startswith(text)
        assert text == WHOLE_TEXT or ending != "stop"
        assert gateways.asked(struck.session_id) == 1
        async with watched(gateways, struck.session_id) as again:
            await again.answers()


@pytest.mark.parametrize("cut_off", [RUNNER, OTHER], ids=["the worker that runs the turn", "the worker of a viewer"])
async def test_a_worker_is_cut_off_from_one_node(gated, nodes, cut_off):
    gateways, gates = gated
    node, elsewhere = nodes.primaries()[:2]
    async with (
        watched(gateways, session_at(nodes, node)) as struck,
        watched(gateways, session_at(nodes, elsewhere)) as other,
    ):
        await struck.ask()
        gate = gates[cut_off][node]
        gate.shut()
        struck.go_on()
        await other.answers()
        if cut_off is OTHER:
            await struck.is_whole(RUNNER)
        gate.open()
        gate.break_off()
        await (struck.is_whole(OTHER) if cut_off is OTHER else struck.are_whole())
    assert gateways.asked(struck.session_id) == 1
