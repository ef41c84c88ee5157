"""A node of a cluster that does not serve a call: it goes where the node says, or is repeated, by itself."""

import asyncio
import logging

import pytest
from redis._parsers.base import BaseParser

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.redis import group_commit
from relay.layers.redis.buckets import TAGS, slot_of
from relay.layers.redis.group_commit import GroupCommit
from relay.layers.redis.keys import ScriptKeys
from relay.layers.redis.scripts import Scripts
from relay.observability.outage_log import OutageLog
from tests.unit.layers.fake_connection import FakeConnection

LIMIT_SECONDS = 60
SCRIPTS = Scripts(Bounds())
ASKING = b"*1\r\n$6\r\nASKING\r\n"


def error(text):
    return BaseParser.parse_error(text)


def slot(bucket):
    return slot_of(TAGS[bucket])


class Server(FakeConnection):
    """Answers each command as the test says: ``answers`` maps a call's name to replies in turn, then all is done."""

    def __init__(self, **answers):
        self.commands = []
        self.exchanges = 0
        self.answers = answers
        self.failure = None

    def answer(self, commands):
        self.exchanges += 1
        return ([], self.failure) if self.failure is not None else (list(map(self._reply, commands)), None)

    def _reply(self, command):
        name = "ASKING" if command == ASKING else command.split(b"\r\n")[-2].decode()
        self.commands.append(name)
        waiting = self.answers.get(name)
        return waiting.pop(0) if waiting else b"done"


class Cluster:
    """Nodes by port, and the buckets that each is believed to serve: the routes of all of them."""

    def __init__(self, *servers, patience_seconds=LIMIT_SECONDS):
        outages = OutageLog(logging.getLogger(__name__))
        self.servers, self.commits, self.owners, self.doubts = servers, [], {}, 0
        for server in servers:
            commit = GroupCommit(
                "redis://unused", SCRIPTS, outages, timeout_seconds=1, patience_seconds=patience_seconds, routes=self
            )
            commit._connection = server
            self.commits.append(commit)

    def call(self, port, name, bucket=0):
        return self.commits[port].call("renew", ScriptKeys(bucket, ()), (name,))

    # Routes.

    def owner(self, bucket):
        return self.commits[self.owners.get(bucket, 0)]

    def learn(self, reply):
        self.owners[next(bucket for bucket in range(256) if slot(bucket) == reply.slot_id)] = reply.port

    def ask(self, reply):
        return self.commits[reply.port]

    def doubt(self):
        self.doubts += 1

    async def close(self):
        for commit in self.commits:
            await commit.close()


async def done(*calls):
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await asyncio.gather(*calls) == [b"done"] * len(calls)


async def test_a_call_goes_where_its_slot_was_moved_and_later_ones_too():
    cluster = Cluster(Server(a=[error(f"MOVED {slot(3)} host:1")], b=[error(f"MOVED {slot(3)} host:1")]), Server())
    calls = [cluster.call(0, "a", 3), cluster.call(0, "other", 4), cluster.call(0, "b", 3)]
    await done(*calls)
    assert cluster.servers[0].commands == ["a", "other", "b"]
    assert cluster.servers[1].commands == ["a", "b"]
    assert cluster.owner(3) is cluster.commits[1]
    await cluster.close()


async def test_a_call_whose_keys_have_moved_is_asked_for_once_and_the_slot_stays():
    cluster = Cluster(Server(a=[error(f"ASK {slot(3)} host:1")]), Server())
    await done(cluster.call(0, "a", 3), cluster.call(1, "other"), cluster.call(1, "another"))
    assert cluster.owner(3) is cluster.commits[0]
    place = cluster.servers[1].commands.index("ASKING")
    assert cluster.servers[1].commands[place + 1] == "a"
    assert cluster.servers[1].commands.count("ASKING") == 1
    await done(cluster.call(0, "a", 3))
    assert cluster.servers[0].commands == ["a", "a"]
    await cluster.close()


async def test_a_node_that_is_asked_in_vain_sends_the_call_back():
    """The node that was asked did not know the script; without ``ASKING`` it does not serve the call."""
    asked = Server(a=[error("NOSCRIPT No matching script"), error(f"MOVED {slot(3)} host:0")])
    cluster = Cluster(Server(a=[error(f"ASK {slot(3)} host:1")] * 2), asked)
    await done(cluster.call(0, "a", 3))
    assert cluster.servers[0].commands == ["a", "a"]
    assert asked.commands[:2] == ["ASKING", "a"]
    assert asked.commands[-2:] == ["ASKING", "a"]
    await cluster.close()


@pytest.mark.parametrize("reply", ["TRYAGAIN Multiple keys request during rehashing of slot", "CLUSTERDOWN is down"])
async def test_a_call_that_nobody_serves_is_repeated_alone(reply):
    cluster = Cluster(Server(a=[error(reply)] * 3))
    waiting = cluster.call(0, "a")
    while "a" not in cluster.servers[0].commands:
        await asyncio.sleep(0)
    await done(cluster.call(0, "b"), cluster.call(0, "c"))
    assert not waiting.done()
    await done(waiting)
    assert cluster.servers[0].commands.count("a") == 4
    assert cluster.commits[0].failure is None
    assert (cluster.doubts > 0) == reply.startswith("CLUSTERDOWN")
    await cluster.close()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("TRYAGAIN Multiple keys", "moves slots for too long"),
        ("CLUSTERDOWN Hash slot not served", "no node for some slots"),
        (f"MOVED {slot(0)} host:0", "disagree"),
        (f"ASK {slot(0)} host:0", "disagree"),
    ],
)
async def test_a_call_that_is_refused_for_too_long_is_given_up_in_words(reply, words):
    cluster = Cluster(Server(a=[error(reply)] * 100_000), patience_seconds=0.05)
    with pytest.raises(StoreUnavailable) as refused:
        await cluster.call(0, "a")
    assert words in refused.value.reason
    assert cluster.servers[0].exchanges < 1_000, "it does not run in circles"
    await cluster.close()


async def test_what_waits_for_a_node_that_is_away_goes_to_the_new_owner_in_order():
    cluster = Cluster(Server(), Server())
    cluster.servers[0].failure = ConnectionError()
    calls = [cluster.call(0, name, bucket) for name, bucket in [("a", 3), ("b", 4), ("c", 3)]]
    while not cluster.doubts:
        await asyncio.sleep(0)
    cluster.owners[3] = 1
    cluster.commits[0].hand_over()
    await done(calls[0], calls[2])
    assert cluster.servers[1].commands == ["a", "c"]
    assert not calls[1].done()
    cluster.servers[0].failure = None
    await done(calls[1])
    await cluster.close()


async def test_a_retired_node_gives_away_what_is_in_flight_and_closes():
    cluster = Cluster(Server(), Server(), patience_seconds=LIMIT_SECONDS)

    async def never(commands, replies):
        await asyncio.Event().wait()

    cluster.servers[0].exchange = never
    calls = [cluster.call(0, "a"), cluster.commits[0].load("renew")]
    await asyncio.sleep(0)
    parked = cluster.call(0, "b")
    cluster.owners[0] = 1
    await cluster.commits[0].retire()
    await done(calls[0], parked)
    with pytest.raises(StoreUnavailable):
        await calls[1]
    assert cluster.servers[1].commands == ["a", "b"]
    assert not cluster.servers[0].is_open
    await cluster.close()


async def test_a_call_that_is_parked_is_refused_when_all_is_closed(monkeypatch):
    monkeypatch.setattr(group_commit, "RETRY_SECONDS", (LIMIT_SECONDS, LIMIT_SECONDS))
    cluster = Cluster(Server(a=[error("TRYAGAIN")]))
    call = cluster.call(0, "a")
    while not cluster.commits[0]._parked:
        await asyncio.sleep(0)
    await cluster.close()
    with pytest.raises(StoreUnavailable):
        await call


async def test_behind_a_plain_address_a_cluster_is_named_at_once():
    commit = GroupCommit(
        "redis://unused", SCRIPTS, OutageLog(logging.getLogger(__name__)), timeout_seconds=1, patience_seconds=60
    )
    for reply in (f"MOVED {slot(0)} host:1", "ASK 1 host:1", "TRYAGAIN", "CLUSTERDOWN Hash slot not served"):
        commit._connection = Server(a=[error(reply)])
        with pytest.raises(StoreUnavailable) as refused:
            await commit.call("renew", ScriptKeys(0, ()), ("a",))
        assert "redis+cluster://" in refused.value.reason
    await commit.close()


async def test_one_refusal_ends_no_call_however_long_the_process_stood_still():
    cluster = Cluster(Server(a=[error("TRYAGAIN")]), patience_seconds=0)
    await done(cluster.call(0, "a"))
    assert cluster.servers[0].commands == ["a", "a"]
    await cluster.close()
