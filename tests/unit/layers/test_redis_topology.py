"""What the nodes of a cluster say about its slots, in every shape that servers and managed stores give it."""

import pytest
from redis._parsers.base import BaseParser

from relay.layers.redis.buckets import SLOTS
from relay.layers.redis.topology import Address, redirection, topology

ASKED = Address("seed.example", 7000)
ID = b"07c37dfeb235213a872192d90877d0cd55635b91"


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ([b"10.0.0.1", 6379, ID, []], Address("10.0.0.1", 6379)),
        ([b"10.0.0.1", 6379, ID], Address("10.0.0.1", 6379)),
        ([b"10.0.0.1", 6379], Address("10.0.0.1", 6379)),
        ([b"one.example", 6379, ID, [b"ip", b"10.0.0.1"]], Address("one.example", 6379)),
        ([b"::1", 6379, ID, []], Address("::1", 6379)),
        ([None, 6380, ID, []], Address("seed.example", 6380)),
        ([None, 6380, ID, [b"ip", b"10.0.0.1", b"hostname", b"x"]], Address("seed.example", 6380)),
        ([b"", 6380, ID, []], Address("seed.example", 6380)),
        ([b"?", 6380, ID, [b"ip", b"10.0.0.1"]], Address("10.0.0.1", 6380)),
        ([b"?", 6380, ID, [b"ip"]], Address("seed.example", 6380)),
    ],
)
def test_where_a_primary_is(node, address):
    replica = [b"replica", 6379, ID, []]
    found = topology([[0, 99, node, replica], [200, 200, node]], ASKED)
    assert {found.owner(0), found.owner(99), found.owner(200)} == {address}
    assert found.owner(100) is found.owner(SLOTS - 1) is None
    assert found.missing == SLOTS - 101


def test_all_slots_may_be_served_or_none():
    whole = topology([[8192, 16383, [b"b", 1, ID]], [0, 8191, [b"a", 1, ID]]], ASKED)
    assert (whole.owner(0), whole.owner(SLOTS - 1), whole.missing) == (Address("a", 1), Address("b", 1), 0)
    assert topology([], ASKED).missing == SLOTS


@pytest.mark.parametrize("reply", [b"OK", 5, None, [1], [[0, 1]], [[0, 1, []]], [[0, 1, [b"a", b"x"]]], [[0, 1, 5]]])
def test_what_is_no_reply_of_a_cluster(reply):
    with pytest.raises(ValueError, match="slots of a cluster"):
        topology(reply, ASKED)


@pytest.mark.parametrize("kind", ["MOVED", "ASK"])
@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("10.0.0.1:6381", Address("10.0.0.1", 6381)),
        ("one.example:6381", Address("one.example", 6381)),
        ("::1:6381", Address("::1", 6381)),
        (":6381", Address("seed.example", 6381)),
        ("?:6381", Address("seed.example", 6381)),
    ],
)
def test_where_a_call_is_sent(kind, place, address):
    reply = BaseParser.parse_error(f"{kind} 3999 {place}")
    assert (reply.slot_id, redirection(reply, ASKED)) == (3999, address)
