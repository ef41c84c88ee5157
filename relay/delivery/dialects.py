"""The two dialects of the wire protocol: what a client is told beside the log, and in which words.

A dialect has no state. Where it gives ``None``, its clients are not told.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import msgspec

from relay.delivery.subscription import PlainSubscription, ResumableSubscription, Subscription
from relay.exceptions import RateLimited, RelayError
from relay.layers.base import SessionLayer
from relay.layers.values import Accepted, CancelAck
from relay.protocol import frames, json_text
from relay.protocol.cursor import Cursor, query_cursor

SUBPROTOCOL: Final = "gateway.v1"
COME_BACK_MS: Final = (500, 3_000)  # spread, so that clients that were sent away do not return all at once


class Dialect(ABC):
    """How one kind of client is spoken to.

    Attributes:
        name: in metrics.
        subprotocol: what the handshake selects.
        is_resumable: has it cursors, and frames that are not the log's?
    """

    name: ClassVar[str]
    subprotocol: ClassVar[str | None] = None
    is_resumable: ClassVar[bool] = False

    def has_cursor(self, query: Mapping[str, str]) -> bool:
        """Does the client come back to where it was?"""
        return False

    @abstractmethod
    async def begin(
        self, layer: SessionLayer, session_id: str, query: Mapping[str, str], subject: str | None
    ) -> tuple[Subscription, str | None]:
        """Take up position in a log. Gives the viewer, and the first frame."""

    @abstractmethod
    def refusal(self, reason: RelayError, client_message_id: str | None) -> str:
        """Refuse a message."""

    def accepted(self, accepted: Accepted, client_message_id: str | None) -> str | None:
        """Say that a message is stored."""
        return None

    def cancelled(self, ack: CancelAck) -> str | None:
        """Say what became of a wish to stop."""
        return None

    def disconnect_frame(self, reason: RelayError) -> str | None:
        """Say why the server closes the socket, and when to come back."""
        return None

    def position(self, position: Cursor) -> str | None:
        """Say where a quiet line stands."""
        return None


class PlainDialect(Dialect):
    """Exactly the frames of the plain protocol."""

    name = "plain"

    async def begin(
        self, layer: SessionLayer, session_id: str, query: Mapping[str, str], subject: str | None
    ) -> tuple[Subscription, str | None]:
        """Begin before the turn in flight; plain has no first frame."""
        subscription = PlainSubscription(layer, session_id, subject)
        await subscription.begin()
        return subscription, None

    def refusal(self, reason: RelayError, client_message_id: str | None) -> str:
        """Refuse a message in words."""
        return frames.plain_error(reason)


class ResumableDialect(Dialect):
    """``gateway.v1``."""

    name = SUBPROTOCOL
    subprotocol = SUBPROTOCOL
    is_resumable = True

    def has_cursor(self, query: Mapping[str, str]) -> bool:
        """Does the query name an epoch or an offset?"""
        return any(query_cursor(query))

    async def begin(
        self, layer: SessionLayer, session_id: str, query: Mapping[str, str], subject: str | None
    ) -> tuple[Subscription, str | None]:
        """Begin at the query's cursor, with ``welcome``."""
        epoch, offset = query_cursor(query)
        subscription = ResumableSubscription(layer, session_id, subject, coalesce=query.get("coalesce") == "1")
        return subscription, await subscription.begin(epoch=epoch, offset=offset)

    def refusal(self, reason: RelayError, client_message_id: str | None) -> str:
        """Refuse a message by its ``client_message_id``."""
        return frames.v1_refusal(reason, client_message_id)

    def accepted(self, accepted: Accepted, client_message_id: str | None) -> str:
        """Write ``accepted``."""
        fields = msgspec.structs.asdict(accepted)
        return json_text.encode({"type": "accepted", "client_message_id": client_message_id, **fields})

    def cancelled(self, ack: CancelAck) -> str:
        """Write ``cancel_ack``."""
        return json_text.encode({"type": "cancel_ack", "turn_id": ack.turn_id, "status": ack.status})

    def disconnect_frame(self, reason: RelayError) -> str:
        """Write ``disconnect``."""
        close_code = frames.close_code(reason)
        delay_ms = random.randint(*COME_BACK_MS) if close_code in frames.COME_BACK else 0  # noqa: S311 - no secret
        if isinstance(reason, RateLimited):
            delay_ms += round(1000 * reason.retry_after_seconds)
        return frames.disconnect(reason, close_code, delay_ms=delay_ms)

    def position(self, position: Cursor) -> str:
        """Write ``ping``."""
        return json_text.encode({"type": "ping", "epoch": position.epoch, "offset": position.offset})


_PLAIN, _RESUMABLE = PlainDialect(), ResumableDialect()


def dialect_of(subprotocols: Sequence[str]) -> Dialect:
    """Give the dialect that a client asks for; other subprotocols than ours are as good as none."""
    return _RESUMABLE if SUBPROTOCOL in subprotocols else _PLAIN
