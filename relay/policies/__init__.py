"""Access policies: they decide which clients may connect to a session. ``GATEWAY__WS_AUTH`` chooses one."""

from __future__ import annotations

from typing import Final

from django.utils.module_loading import import_string

from relay.layers.limits import Limits
from relay.layers.values import Rate
from relay.policies.base import Policy
from relay.policies.handshake import Handshake, Identity

__all__ = ["Handshake", "Identity", "Limits", "Policy", "Rate"]

COOKIE_POLICY: Final = "session"  # the one that browsers answer to without being asked
POLICIES: Final = {
    "open": "relay.policies.open.OpenPolicy",
    "ticket": "relay.policies.ticket.TicketPolicy",
    COOKIE_POLICY: "relay.policies.session.SessionPolicy",
    "jwt": "relay.policies.jwt.JwtPolicy",
}


def policy_class(name: str) -> type[Policy]:
    """Find the policy of a name or dotted path.

    Raises:
        ImportError: there is nothing at the dotted path.
        TypeError: there is an object there that is no policy.
    """
    found = import_string(POLICIES.get(name, name))
    if not (isinstance(found, type) and issubclass(found, Policy)):
        raise TypeError(f"{name} is not a subclass of relay.policies.Policy")
    return found


def make_policy(name: str, limits: Limits) -> Policy:
    """Make the policy of a name or dotted path."""
    return policy_class(name)(limits)
