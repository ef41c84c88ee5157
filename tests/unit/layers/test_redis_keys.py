"""The database number of an address, in every form that an address has."""

import pytest

from relay.addresses.store import database_number
from relay.layers.redis.keys import namespace


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://host", 0),
        ("redis://host/", 0),
        ("redis://user:word@host:6379/0", 0),
        ("rediss://host/5", 5),
        ("redis://host?db=3", 3),
        ("redis://host/5?db=3", 3),  # as redis-py reads it
        ("redis://host/5?socket_keepalive=true", 5),
        ("unix:///run/valkey.sock", 0),
        ("unix:///run/valkey.sock?db=2", 2),
        ("unix://user:word@/run/valkey.sock?db=2", 2),
        ("redis+sentinel://a:1,b:2/service", 0),
        ("redis+sentinel://a:1,b:2/service/4", 4),
        ("rediss+sentinel://user:word@a:1/service/4?sentinel_password=x", 4),
    ],
)
def test_a_deployment_is_named_by_its_prefix_and_the_database_of_its_address(url, number):
    assert database_number(url) == number
    assert namespace("relay", url) == f"relay:{number}"
