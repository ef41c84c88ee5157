"""Rates of messages: what is counted, and for how long a client that sent too many has to wait."""

import pytest

from relay.access.rate_limits import take_message
from relay.exceptions import RateLimited
from relay.layers.memory.limits import MemoryLimits


@pytest.fixture
def limits(settings):
    """Three messages a minute, of a moment: time gives nothing back."""
    settings.GATEWAY = {**settings.GATEWAY, "RATE_LIMIT": "4", "ADDRESS_RATE_LIMIT": "3"}
    return MemoryLimits(lambda: 0.0)


async def test_a_session_has_its_messages_a_minute(limits):
    for _ in range(4):
        await take_message(limits, "s")
    with pytest.raises(RateLimited) as refused:
        await take_message(limits, "s")
    assert refused.value.retry_after_seconds == 15.0
    await take_message(limits, "t")


async def test_an_address_has_its_messages_a_minute_in_all_sessions(limits):
    for number in range(3):
        await take_message(limits, f"s{number}", "192.0.2.1")
    with pytest.raises(RateLimited) as refused:
        await take_message(limits, "another", "192.0.2.1")
    assert refused.value.retry_after_seconds == 20.0
    await take_message(limits, "another", "192.0.2.2")
