"""Tickets: for which session they are, and for how long the store remembers that one was used."""

from types import SimpleNamespace

import pytest

from relay.exceptions import Unauthorized
from relay.layers.memory.limits import MemoryLimits
from relay.policies import Handshake, ticket_signing
from relay.policies.ticket import TicketPolicy


def shown(session_id, ticket):
    return Handshake(session_id=session_id, query={"ticket": ticket})


@pytest.mark.parametrize("other", ["r", "t", "ss", "S", ""])
async def test_a_ticket_is_good_for_its_own_session_only(other):
    policy, ticket = TicketPolicy(MemoryLimits()), ticket_signing.issue("s", "ada", 60)
    assert (await policy.admit(shown("s", ticket))).subject == "ada"
    with pytest.raises(Unauthorized):
        await policy.admit(shown(other, ticket))
    with pytest.raises(Unauthorized):
        await policy.redeem(shown(other, ticket), "epoch")


class NotedLimits(MemoryLimits):
    """Notes for how long something is remembered."""

    async def use_once(self, key, ttl_seconds, purpose=""):
        self.ttl_seconds = ttl_seconds
        return await super().use_once(key, ttl_seconds, purpose)


@pytest.mark.parametrize(("lifetime_seconds", "least", "most"), [(30, 1, 30), (600, 30, 600)])
async def test_a_used_ticket_is_remembered_as_long_as_it_would_be_good(lifetime_seconds, least, most):
    limits = NotedLimits()
    await TicketPolicy(limits).redeem(shown("s", ticket_signing.issue("s", None, lifetime_seconds)), "epoch")
    assert least < limits.ttl_seconds <= most


async def test_a_used_ticket_is_remembered_for_a_second_at_least(monkeypatch):
    """A store counts in whole milliseconds, and takes none for an error."""
    limits, ticket = NotedLimits(), ticket_signing.issue("s", None, 60)
    read = ticket_signing.read(ticket)
    monkeypatch.setattr("relay.policies.ticket.time", SimpleNamespace(time=lambda: read.expires_at - 0.000_1))
    await TicketPolicy(limits).redeem(shown("s", ticket), "epoch")
    assert limits.ttl_seconds == 1.0
