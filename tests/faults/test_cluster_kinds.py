"""Stores of the wrong kind, and clusters that are not whole: said in words before the first message."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from functools import partial

import pytest

from relay.management.doctor_store import examine_store
from relay.management.finding import Level
from relay.testing.turns import LIMIT_SECONDS, answer
from tests import processes
from tests.faults.conftest import until_served
from tests.faults.test_store_rights import ACL, PASSWORD, USER, refusal, without
from tests.faults.valkey import Valkey
from tests.faults.valkey_cluster import SLOTS, ValkeyCluster

FOR_CLUSTERS = ["+cluster|slots", "+cluster|myid", "+asking"]
NEEDED = [*FOR_CLUSTERS, "+evalsha", "+script|load", "+spublish", "+ssubscribe", "~relay*", "&relay*"]
SHORT_LEASE_SECONDS = 0.5  # for one that is refused; what has to succeed is asked until it does
A_CLUSTER, NO_CLUSTER = "it is a cluster: its address must begin with redis+cluster://", "it is not a cluster"


@pytest.fixture(scope="module")
def cluster():
    with ValkeyCluster() as cluster:
        yield cluster


async def problems(url):
    """What the doctor finds wrong with a store."""
    return [found.words for found in await findings(url)]


async def findings(url):
    async with asyncio.timeout(LIMIT_SECONDS):
        return [found async for found in examine_store(url) if found.level is not Level.OK]


async def check_all(layer):
    await layer.check()
    await layer.check_announcements()


async def test_a_whole_cluster_passes_every_check(cluster, open_layer):
    layer = await open_layer(cluster.url)
    await until_served(partial(check_all, layer))
    assert await problems(cluster.url) == []


@pytest.mark.parametrize("number", range(3))
async def test_a_cluster_behind_a_plain_address_is_named_whichever_node_it_leads_to(cluster, open_layer, number):
    url = f"redis://127.0.0.1:{cluster.nodes[number].port}/0"
    layer = await open_layer(url, lease_seconds=SHORT_LEASE_SECONDS)
    assert A_CLUSTER in await refusal(layer.check)
    (found,) = await findings(url)
    assert A_CLUSTER in found.words
    assert found.advice == "Correct GATEWAY__REDIS_URL."


async def test_a_plain_server_behind_the_address_of_a_cluster_is_named(valkey, open_layer):
    url = f"redis+cluster://127.0.0.1:{valkey.port}"
    layer = await open_layer(url, lease_seconds=SHORT_LEASE_SECONDS)
    assert NO_CLUSTER in await refusal(layer.check)
    (found,) = await findings(url)
    assert NO_CLUSTER in found.words
    assert found.advice == "Correct GATEWAY__REDIS_URL."


async def test_slots_without_a_node_are_counted(open_layer):
    with ValkeyCluster(replicas=0) as cluster:
        layer = await open_layer(cluster.url)
        await until_served(layer.check)
        for node in cluster.nodes:
            node.say("CLUSTER", "DELSLOTS", 5, 7)
        words = f"its cluster has no node for 2 of its {SLOTS} slots"
        assert await refusal(layer.check) == words
        (found,) = await problems(cluster.url)
        assert words in found


async def test_a_dead_node_is_named_by_the_doctor(open_layer):
    with ValkeyCluster(replicas=0) as cluster:
        cluster.nodes[1].kill()
        (words,) = await problems(cluster.url)
        assert f"127.0.0.1:{cluster.nodes[1].port} cannot be used: no server is listening" in words


@pytest.fixture
def address(cluster):
    """The cluster with the documented user on every node."""
    for node in cluster.running():
        assert node.command(*ACL[:2], USER, "reset") == "+OK"
        assert node.command(*ACL) == "+OK"
        assert node.command("ACL", "SETUSER", USER, *FOR_CLUSTERS) == "+OK"
    return cluster.url.replace("://", f"://{USER}:{PASSWORD}@")


async def test_the_documented_rights_suffice(cluster, address, open_layer):
    for node in cluster.running():
        node.say("ACL", "LOG", "RESET")
    layer = await open_layer(address)
    await until_served(partial(check_all, layer))
    await until_served(partial(answer, layer, "hi", "a"))
    assert [node.say("ACL", "LOG") for node in cluster.running()] == [[]] * len(cluster.nodes)


@pytest.mark.parametrize("right", NEEDED)
async def test_a_right_that_is_missing_is_named(cluster, address, open_layer, right):
    for node in cluster.running():
        assert node.command("ACL", "SETUSER", USER, without(right)) == "+OK"
        node.say("SCRIPT", "FLUSH")
    layer = await open_layer(address, lease_seconds=SHORT_LEASE_SECONDS)
    reason = await refusal(partial(check_all, layer))
    assert "its user may not" in reason
    if right.startswith("+"):
        assert f"'{right[1:]}'" in reason


def ready(gateway):
    try:
        with urllib.request.urlopen(f"{gateway.http_url}/ready") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def until_told(gateway, words):
    """Wait until the probe says why the store is red: in a slow moment its check has no time to find out."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            status, body = await asyncio.to_thread(ready, gateway)
            assert status == 503
            assert not re.search(r"Traceback|127\.0\.0\.1", body)
            if words in json.loads(body)["checks"]["store"]["detail"]:
                return


async def test_the_probe_says_what_is_wrong(cluster, scripted_agent):
    with Valkey() as valkey:
        wrong = {
            f"redis+cluster://127.0.0.1:{valkey.port}": NO_CLUSTER,
            f"redis://127.0.0.1:{cluster.nodes[0].port}": A_CLUSTER,
        }
        gateways = [processes.gateway("serve", scripted_agent.http_url, REDIS_URL=url) for url in wrong]
        with processes.running(*gateways):
            for gateway, words in zip(gateways, wrong.values(), strict=True):
                await until_told(gateway, words)
