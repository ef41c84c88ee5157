"""How many connections one address has open: each that ends makes room for one, and no more."""

import pytest

from relay.access.connection_limits import ConnectionLimiter
from relay.exceptions import TooManyConnections

NETWORK = "192.0.2.1"


def test_a_connection_that_ends_makes_room_for_one(settings):
    settings.GATEWAY = {**settings.GATEWAY, "ADDRESS_MAX_SOCKETS": "3"}
    limiter = ConnectionLimiter()
    for _ in range(3):
        limiter.acquire(NETWORK)
    for _ in range(2):
        with pytest.raises(TooManyConnections):
            limiter.acquire(NETWORK)
        limiter.release(NETWORK)
        limiter.acquire(NETWORK)
    for _ in range(3):
        limiter.release(NETWORK)
    assert not limiter._taken, "nothing is kept of a client that has left"
