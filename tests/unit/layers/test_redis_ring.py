"""Which store keeps a session: the same everywhere, evenly, and moving little."""

from collections import Counter

import pytest

from relay.addresses.place import place
from relay.layers.redis.ring import Ring

NAMES = ["redis://a:1/0", "redis://b:1/0", "redis://c:1/0"]
PLACES = [2, 1, 1, 1, 1, 0, 0, 2, 1, 0, 0, 0]  # of the first keys
KEYS = [f"session-{number}" for number in range(3_000)]


def stores(names):
    ring = Ring(names)
    return {key: names[ring.index(key)] for key in KEYS}


def test_the_order_of_the_names_does_not_matter():
    assert stores(NAMES) == stores(NAMES[::-1])


def test_a_session_stays_where_it_was_by_this_very_release():
    """Another hash would move every session of a running deployment."""
    ring = Ring(NAMES)
    assert [ring.index(key) for key in KEYS[:12]] == PLACES


def test_shares_are_even():
    assert all(abs(count - 1_000) < 250 for count in Counter(stores(NAMES).values()).values())


def test_a_store_that_is_added_takes_only_its_share():
    before, after = stores(NAMES), stores([*NAMES, "redis://d:1/0"])
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {"redis://d:1/0"}
    assert 400 < len(moved) < 1_100


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://a:1/0", "a:1/0"),
        ("redis://:secret@a:1/0", "a:1/0"),
        ("rediss://user:p%40ss@a:1/0?ssl_cert_reqs=none", "a:1/0"),
        ("unix:///run/valkey.sock", "/run/valkey.sock"),
        ("redis+sentinel://user:secret@a:1,b:2/service/0?sentinel_password=other", "a:1,b:2/service/0"),
    ],
)
def test_a_password_moves_no_session(url, name):
    """Half of the processes may have the new one already."""
    assert place(url) == name
