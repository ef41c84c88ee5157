"""A script's value is told from its refusal."""

import pytest

from relay import exceptions
from relay.layers.redis.replies import accept

REFUSALS = {
    b"lost": exceptions.LeaseLost,
    b"cancelled": exceptions.TurnCancelled,
    b"conflict": exceptions.IdempotencyConflict,
    b"busy": exceptions.SessionBusy,
    b"full": exceptions.QueueFull,
    b"not_owner": exceptions.NotOwner,
    b"no_room": exceptions.StoreUnavailable,
}


@pytest.mark.parametrize(("reply", "error"), REFUSALS.items())
def test_a_refusal_is_raised(reply, error):
    with pytest.raises(error):
        accept(reply)


@pytest.mark.parametrize("reply", [b"", b"text", b"LOST", "lost", 0, 7, None, [b"lost"], []])
def test_a_value_is_given_back(reply):
    assert accept(reply) is reply
