"""Buckets are even over the slots of a cluster, and sessions over buckets; a session's names share a slot."""

import pytest
from redis.crc import key_slot

from relay.layers.redis.buckets import BUCKETS, SLOTS, TAGS, bucket_of, slot_of, tag_of
from relay.layers.redis.keys import Keys

SESSIONS = 10_000


def test_each_bucket_has_a_tag_in_its_own_part_of_the_slots():
    assert len(TAGS) == len(set(TAGS)) == BUCKETS
    for bucket, tag in enumerate(TAGS):
        assert slot_of(tag) // (SLOTS // BUCKETS) == bucket
        assert all(slot_of(str(smaller)) // (SLOTS // BUCKETS) != bucket for smaller in range(int(tag)))


def test_tags_and_the_buckets_of_names_never_change():
    """Processes of different versions share a store, and what it holds is found again."""
    assert (TAGS[:4], TAGS[-1], max(map(int, TAGS))) == (("460", "14", "278", "10"), "430", 477)
    assert [bucket_of(name) for name in ("", "a", "session-1", "é")] == [46, 222, 38, 237]


def test_all_names_of_a_session_share_its_buckets_slot():
    keys = Keys("relay:0")
    for session_id in ("s", "a{b}c", "x:y", "}"):
        session = keys.of_session(session_id)
        names = session.for_call("call", with_outbox=True).names
        slots = {key_slot(name.encode()) for name in (*names, *session.for_append.names, *session.outbox.names)}
        assert slots == {slot_of(TAGS[bucket_of(session_id)])}
        assert session.for_append.names == names[:5]
        assert {tag_of(name) for name in names} == {TAGS[session.for_append.bucket]}


@pytest.mark.parametrize("session_id", ["s", "a:c:b", "{17}", "}:c:"])
def test_the_session_of_a_channel_is_known(session_id):
    keys = Keys("relay:0")
    assert keys.session_of(keys.of_session(session_id).names.channel) == session_id
    assert keys.session_of(keys.orders.names[0]) == ""


@pytest.mark.parametrize("form", ["session-{}", "{:032x}", "user {}/chat"])
@pytest.mark.parametrize("nodes", [3, 6])
def test_sessions_are_spread_evenly_over_equal_parts_of_the_slots(form, nodes):
    sessions = [0] * nodes
    for number in range(SESSIONS):
        sessions[slot_of(TAGS[bucket_of(form.format(number))]) * nodes // SLOTS] += 1
    even = SESSIONS / nodes
    assert all(abs(count - even) < even / 10 for count in sessions)
