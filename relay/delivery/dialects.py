"""The two dialects of the wire protocol: the frames that are not in the log.

A dialect has no state. Where it returns ``None``, its clients are sent nothing.
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
from relay.transcripts.history import HistoryPage

SUBPROTOCOL: Final = "gateway.v1"
COME_BACK_MS: Final = (500, 3_000)  # spread, so that disconnected clients do not all return at once


class Dialect(ABC):
    """Writes the frames for one kind of client.

    Attributes:
        name: the label in metrics.
        subprotocol: the one that the handshake selects.
        is_resumable: does it have cursors, and frames that are not in the log?
    """

    name: ClassVar[str]
    subprotocol: ClassVar[str | None] = None
    is_resumable: ClassVar[bool] = False

    def has_cursor(self, query: Mapping[str, str]) -> bool:
        """Does the client name the position that it returns to?"""
        return False

    @abstractmethod
    async def subscribe(
        self, query: Mapping[str, str], layer: SessionLayer, session_id: str, subject: str | None
    ) -> tuple[Subscription, dict[str, object] | None]:
        """Take up position in a log. Returns the subscription, and the fields of ``welcome``."""

    @abstractmethod
    def refusal(self, reason: RelayError, client_message_id: str | None) -> str:
        """Refuse a message."""

    def accepted(self, accepted: Accepted, client_message_id: str | None) -> str | None:
        """Tell the sender that its message is stored."""
        return None

    def cancelled(self, ack: CancelAck) -> str | None:
        """Answer a request to cancel."""
        return None

    def history(self, page: HistoryPage, client_message_id: str | None) -> str | None:
        """Answer a request for ended turns."""
        return None

    def disconnect_frame(self, reason: RelayError) -> str | None:
        """Tell why the server closes the connection, and when to return."""
        return None

    def position(self, position: Cursor) -> str | None:
        """Tell a quiet client how far it has read."""
        return None


class PlainDialect(Dialect):
    """Exactly the frames of the plain protocol."""

    name = "plain"

    async def subscribe(
        self, query: Mapping[str, str], layer: SessionLayer, session_id: str, subject: str | None
    ) -> tuple[Subscription, dict[str, object] | None]:
        """Start before the turn in flight; plain has no ``welcome``."""
        subscription = PlainSubscription(layer, session_id, subject)
        await subscription.start()
        return subscription, None

    def refusal(self, reason: RelayError, client_message_id: str | None) -> str:
        """Refuse a message by a sentence."""
        return frames.plain_error(reason)


class ResumableDialect(Dialect):
    """``gateway.v1``."""

    name = SUBPROTOCOL
    subprotocol = SUBPROTOCOL
    is_resumable = True

    def has_cursor(self, query: Mapping[str, str]) -> bool:
        """Does the query name an epoch or an offset?"""
        return any(query_cursor(query))

    async def subscribe(
        self, query: Mapping[str, str], layer: SessionLayer, session_id: str, subject: str | None
    ) -> tuple[Subscription, dict[str, object] | None]:
        """Start at the query's cursor."""
        epoch, offset = query_cursor(query)
        subscription = ResumableSubscription(layer, session_id, subject, coalesce=query.get("coalesce") == "1")
        return subscription, await subscription.start(epoch=epoch, offset=offset)

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

    def history(self, page: HistoryPage, client_message_id: str | None) -> str:
        """Write ``history``."""
        return json_text.encode({"type": "history", "client_message_id": client_message_id, **page.fields()})

    def disconnect_frame(self, reason: RelayError) -> str:
        """Write ``disconnect``."""
        close_code = frames.close_code(reason)
        delay_ms = reconnect_delay_ms(reason, COME_BACK_MS) if close_code in frames.COME_BACK else 0
        return frames.disconnect(reason, close_code, delay_ms=delay_ms)

    def position(self, position: Cursor) -> str:
        """Write ``ping``."""
        return json_text.encode({"type": "ping", "epoch": position.epoch, "offset": position.offset})


_PLAIN, _RESUMABLE = PlainDialect(), ResumableDialect()


def dialect_of(subprotocols: Sequence[str]) -> Dialect:
    """Choose the dialect that a client asks for; unknown subprotocols count as none."""
    return _RESUMABLE if SUBPROTOCOL in subprotocols else _PLAIN


def reconnect_delay_ms(reason: RelayError, spread_ms: tuple[int, int]) -> int:
    """Choose when a client should return: at random within the spread, later where a limit has to pass first."""
    delay_ms = random.randint(*spread_ms)  # noqa: S311 - no secret
    return delay_ms + round(1000 * reason.retry_after_seconds) if isinstance(reason, RateLimited) else delay_ms
