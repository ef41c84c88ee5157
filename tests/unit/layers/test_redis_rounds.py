"""Rounds over the buckets of several nodes: what is found counts, whatever comes after it."""

import asyncio
from typing import NamedTuple

from relay import tasks
from relay.exceptions import StoreUnavailable
from relay.layers.redis.keys import Keys
from relay.layers.redis.rounds import AT_ONCE, visit_nodes, visits
from tests.clients import LIMIT_SECONDS

BUCKETS = Keys("relay:0").buckets


class KnownNode(NamedTuple):
    """A node of which it is known what is wrong."""

    place: str
    words: str = ""

    def trouble(self):
        return self.words


async def test_what_a_node_has_answered_counts_though_the_rest_comes_too_late():
    async def call(bucket):
        if bucket.number >= AT_ONCE:
            await asyncio.Event().wait()
        return bucket.number

    found, failures = await visit_nodes({KnownNode("slow"): BUCKETS}, 0.2, lambda buckets: visits(buckets, call))
    assert [reply for few in found for _, reply in few] == list(range(AT_ONCE))
    assert [(place, failure.reason) for place, failure in failures.items()] == [("slow", "it does not answer")]


async def test_a_node_that_does_not_answer_in_time_is_reported_with_what_is_known_of_it():
    async def call(bucket):
        await asyncio.Event().wait()

    nodes = {KnownNode("away", "no server is listening at its address"): BUCKETS}
    _, failures = await visit_nodes(nodes, 0.01, lambda buckets: visits(buckets, call))
    assert failures["away"].reason == "no server is listening at its address"


async def test_what_a_node_has_answered_counts_though_it_fails_then():
    async def call(bucket):
        if bucket.number == AT_ONCE:
            raise StoreUnavailable("it is gone")
        return bucket.number

    nodes = {KnownNode("failing"): BUCKETS, KnownNode("well"): BUCKETS[-2:]}
    found, failures = await visit_nodes(nodes, 60, lambda buckets: visits(buckets, call))
    assert sorted(len(few) for few in found) == [2, AT_ONCE]
    assert failures["failing"].reason == "it is gone"


async def test_a_process_that_stood_still_misses_no_node(clock, monkeypatch):
    """The node has answered long ago; its reply is read a moment later."""
    monkeypatch.setattr(tasks, "GRACE_SECONDS", LIMIT_SECONDS)
    reply = asyncio.get_running_loop().create_future()

    async def visit_node(buckets):
        yield await reply

    visiting = asyncio.create_task(visit_nodes({KnownNode("well"): BUCKETS}, LIMIT_SECONDS, visit_node))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.advance(LIMIT_SECONDS + 1)
    for _ in range(10):
        await asyncio.sleep(0)
    reply.set_result("found")
    assert await visiting == (["found"], {})
