"""One turn as the body of one HTTP response, through a translator.

In these clients a body that ends without its terminal event counts as a success. So the body ends after that event, or
the response breaks.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import ClassVar, Final

from relay.access.auth import limited_network
from relay.access.rate_limits import take_message
from relay.adapters.base import Translator
from relay.delivery.http_stream import HttpStream
from relay.delivery.session_connection import Welcome
from relay.delivery.subscription import ResumableSubscription, Subscription
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import AnswerGone, RelayError, ShuttingDown, TooSlow
from relay.layers.base import SessionLayer
from relay.layers.values import Accepted, SessionState, new_turn
from relay.observability import metrics
from relay.policies import Handshake, Identity
from relay.protocol.client_messages import StartTurn
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.protocol.event_stream import encode_comment, encode_event
from relay.protocol.frames import Frame, FrameKind, ReplayGap, Snapshot
from relay.turns import recorder

CHUNK_BYTES: Final = 65_536  # of a client that is behind; a slow one holds one chunk, not a whole batch
PAGE: Final = 256  # frames read at once in search of a turn's first


class TurnStream(HttpStream):
    """One viewer of one turn: ``open``, then ``start_turn`` or a turn that is known, then ``follow``.

    Args:
        identity: the client's; the policy has admitted it.
        end: events behind the terminal one.
    """

    gauge = metrics.EVENT_STREAMS
    is_opened_first: ClassVar[bool] = True
    may_end_early: ClassVar[bool] = False

    def __init__(self, session_id: str, handshake: Handshake, identity: Identity, *, end: Iterable[str] = ()) -> None:
        super().__init__(session_id, handshake, limited_network(handshake), identity)
        self._translator: Translator
        self._end_events = tuple(end)
        self._refusal: RelayError | None = None
        self._has_started = False
        self._is_over = False

    # Before the response starts.

    async def open(self) -> AsyncGenerator[bytes, None]:
        """Open the connection. Returns the body, which is started: dropped unread, the event loop closes it.

        Raises:
            RelayError: the client is refused.
        """
        chunks = self.chunks()
        async for _ in chunks:
            return chunks
        raise self._refusal or RelayError

    async def start_turn(self, message: StartTurn, traceparent: str | None) -> Accepted:
        """Put a message into the session's queue, as a socket does; a message that is known gives its turn.

        Raises:
            RelayError: it is refused.
        """
        connection = self.connection
        layer = connection.gateway.layer
        try:
            if connection.gateway.is_draining:
                raise ShuttingDown
            await within_store_timeout(take_message(layer.limits, connection.session_id, connection.network))
            turn = new_turn(message, subject=connection.subject, outer_traceparent=traceparent)
            accepted = await within_store_timeout(connection.gateway.accept(connection.session_id, turn))
        except RelayError as exc:
            recorder.message_refused(exc)
            raise
        if accepted.status == "ended":
            self._start_at(await self._find(accepted.turn_id))
        return accepted

    def attach(self, state: SessionState) -> None:
        """Start at the turn in flight, which may have ended since ``state`` was read."""
        self._start_at(Cursor(state.epoch, state.active_after))

    async def attach_named(self, turn_id: str) -> None:
        """Start at a turn that waits, runs or has ended.

        Raises:
            AnswerGone: it is not kept.
        """
        connection = self.connection
        state = await within_store_timeout(connection.gateway.layer.ensure(connection.session_id, connection.subject))
        if turn_id in (state.active_turn_id, *state.queued):
            self.attach(state)
        else:
            self._start_at(await self._find(turn_id))

    def follow(self, translator: Translator) -> None:
        """Set the turn that the body gives: the translator's."""
        self._translator = translator

    async def _find(self, turn_id: str) -> Cursor:
        """Find the place before the first frame of a turn that has ended.

        Raises:
            AnswerGone: it is not kept.
        """
        connection = self.connection
        state = await within_store_timeout(connection.gateway.layer.ensure(connection.session_id, connection.subject))
        after = Cursor(state.epoch, state.oldest - 1)
        try:
            while frames := await within_store_timeout(self._page(after)):
                for frame in frames:
                    if frame.turn_id == turn_id and frame.kind is FrameKind.USER_MESSAGE:
                        return Cursor(after.epoch, frame.offset - 1)
                after = Cursor(after.epoch, frames[-1].offset)
            await within_store_timeout(self._page(UNKNOWN))  # which has a snapshot of the newest turn
        except ReplayGap as gap:
            if gap.snapshot.turn_id == turn_id and self.takes_snapshot:
                return UNKNOWN
        raise AnswerGone

    async def _page(self, after: Cursor) -> list[Frame]:
        connection = self.connection
        return await connection.gateway.layer.read(connection.session_id, after, PAGE, connection.subject)

    def _start_at(self, position: Cursor) -> None:
        assert self.connection.subscription is not None  # noqa: S101 - the connection is open
        self.connection.subscription.position = position

    # The body.

    def refuse(self, reason: RelayError) -> bytes:
        """Write nothing: ``open`` raises the reason."""
        self._refusal = reason
        return b""

    async def subscribe(
        self, layer: SessionLayer, session_id: str, subject: str | None
    ) -> tuple[Subscription, Welcome]:
        """Start at the turn in flight, or at the log's end: a message that follows cannot be missed."""
        subscription = ResumableSubscription(layer, session_id, subject)
        await subscription.start()
        return subscription, None

    @property
    def left_for(self) -> RelayError | None:
        """Why the gateway has broken the response off; ``None`` if it has not."""
        return self._leaving

    @property
    def is_over(self) -> bool:
        """Was the turn's end written?"""
        return self._is_over

    @property
    def takes_snapshot(self) -> bool:
        """Can the client be given the whole text instead of frames that are gone?"""
        return not self._has_started

    def encode(self, batch: list[Frame] | Snapshot) -> Iterator[bytes]:
        """Write the turn's frames, and leave out those of other turns.

        Raises:
            TooSlow: frames of the turn are gone, and these protocols cannot replace what the client has.
        """
        if isinstance(batch, Snapshot):
            yield self._snapshot(batch)
            return
        chunk = bytearray()
        for frame in batch:
            if frame.turn_id != self._translator.turn_id:
                continue
            if not self._has_started and frame.kind is not FrameKind.USER_MESSAGE:
                raise TooSlow
            self._has_started = True
            chunk += self.encode_frame(frame, self._translator.events(frame))
            if frame.is_terminal:
                chunk += self._ending()
                self._is_over = True
                break
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
        if chunk:
            yield bytes(chunk)

    def encode_frame(self, frame: Frame, events: list[str]) -> bytes:
        """Write the events that were made from a frame."""
        return b"".join([encode_event(event) for event in events])

    def encode_snapshot(self, snapshot: Snapshot, events: list[str]) -> bytes:
        """Write the events that were made from a snapshot."""
        return b"".join([encode_event(event) for event in events])

    def _snapshot(self, snapshot: Snapshot) -> bytes:
        if not self.takes_snapshot or snapshot.turn_id != self._translator.turn_id:
            raise TooSlow
        self._has_started = True
        body = self.encode_snapshot(snapshot, self._translator.snapshot(snapshot))
        if snapshot.terminal is None:
            return body
        self._is_over = True
        return body + self._ending()

    def _ending(self) -> bytes:
        return b"".join([encode_event(event) for event in self._end_events])

    def encode_heartbeat(self) -> bytes:
        """Write a comment."""
        return encode_comment()

    def encode_disconnect(self, reason: RelayError) -> bytes:
        """Write a comment, for a person who reads the bytes; the connection breaks behind it."""
        return encode_comment(f"broken off: {reason.code}")
