"""Tells a script's value from its refusal, which is a name. Pure."""

from __future__ import annotations

from typing import Final

from relay.exceptions import (
    AlreadyDecided,
    IdempotencyConflict,
    LeaseLost,
    NotOwner,
    QueueFull,
    RelayError,
    SessionBusy,
    StoreUnavailable,
    TurnCancelled,
)
from relay.layers.redis.wire import Reply

_REFUSALS: Final[dict[bytes, type[RelayError]]] = {
    b"lost": LeaseLost,
    b"cancelled": TurnCancelled,
    b"decided": AlreadyDecided,
    b"conflict": IdempotencyConflict,
    b"busy": SessionBusy,
    b"full": QueueFull,
    b"not_owner": NotOwner,
    b"no_room": StoreUnavailable,
}


def accept(reply: Reply) -> Reply:
    """Return a reply, unless it is a refusal.

    Raises:
        RelayError: the refusal.
    """
    if isinstance(reply, bytes) and reply in _REFUSALS:
        raise _REFUSALS[reply]
    return reply
