"""What a script's reply says: a value, or a refusal by its name. Pure."""

from __future__ import annotations

from typing import Final

from relay.exceptions import (
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
    b"conflict": IdempotencyConflict,
    b"busy": SessionBusy,
    b"full": QueueFull,
    b"not_owner": NotOwner,
    b"no_room": StoreUnavailable,
}


def accept(reply: Reply) -> Reply:
    """Give a reply back, unless it is a refusal.

    Raises:
        RelayError: what the script refuses.
    """
    if isinstance(reply, bytes) and reply in _REFUSALS:
        raise _REFUSALS[reply]
    return reply
