"""The cluster that other tests break is a real one: it fails over, and gives slots and nodes away."""

import binascii
import re

import pytest

from tests.faults.valkey_cluster import PATIENT_MILLISECONDS, SHORT_MILLISECONDS, Node, ValkeyCluster

KEYS = ["{x}one", "{x}two"]
SAY = Node.say
SLOT = binascii.crc_hqx(b"x", 0) % 16_384


@pytest.fixture
def cluster():
    with ValkeyCluster() as cluster:
        for key in KEYS:
            cluster.primary_of(SLOT).say("SET", key, "kept")
        yield cluster


def silence_limits(cluster):
    """For how long may a node be silent, before the others hold it to be down?"""
    name = "cluster-node-timeout"
    return {int(node.say("CONFIG", "GET", name)[1]) for node in cluster.running()}


def test_a_node_may_stand_still_for_long_unless_it_is_to_be_replaced(cluster):
    assert silence_limits(cluster) == {PATIENT_MILLISECONDS}
    with cluster.failing_over():
        assert silence_limits(cluster) == {SHORT_MILLISECONDS}
    assert silence_limits(cluster) == {PATIENT_MILLISECONDS}


def test_a_replica_takes_over_and_the_old_primary_comes_back_as_its_replica(cluster):
    primary = cluster.primary_of(SLOT)
    replica = cluster.replica_of(primary)
    primary.say("WAIT", 1, 0)
    primary.kill()
    cluster.until_promoted(replica)
    assert silence_limits(cluster) == {PATIENT_MILLISECONDS}
    assert cluster.primary_of(SLOT) is replica
    assert replica.say("GET", KEYS[0]) == "kept"
    primary.start()
    cluster.settle()
    assert cluster.replica_of(replica) is primary
    assert cluster.fail_over(replica) is primary


def test_a_cluster_has_settled_once_every_node_holds_the_others_to_be_well(cluster, monkeypatch):
    primary = cluster.primary_of(SLOT)
    replica = cluster.replica_of(primary)
    late = iter(["fail", "fail?", "handshake"])  # what the primary says of it, one after another

    def say(node, *words):
        reply = SAY(node, *words)
        if node is primary and words == ("CLUSTER", "NODES") and (flag := next(late, None)):
            return re.sub(rf"({replica.id} \S+) slave", rf"\1 slave,{flag}", reply)
        return reply

    monkeypatch.setattr(Node, "say", say)
    cluster.settle()
    assert next(late, None) is None
    assert cluster.replica_of(primary) is replica


def test_slots_move_key_by_key_or_in_ranges_to_a_node_that_comes_and_goes(cluster):
    source, node = cluster.primary_of(SLOT), cluster.add_node()
    assert sorted(cluster.migrate_slot(SLOT, node)) == ["", *KEYS]
    assert cluster.primary_of(SLOT) is node
    cluster.move_slots(SLOT - 100, SLOT + 100, node)
    assert node.say("GET", KEYS[0]) == "kept"
    assert node in cluster.primaries()
    cluster.remove_node(node)
    assert node not in cluster.primaries()
    assert cluster.primary_of(SLOT).say("GET", KEYS[1]) == "kept"
    assert source.is_running
