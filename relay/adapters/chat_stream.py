"""One turn as frames of a socket that it shares with others."""

from __future__ import annotations

from collections.abc import Callable

from relay.adapters.ai_sdk_frames import chunk_head, encode
from relay.adapters.turn_stream import TurnStream
from relay.delivery.socket_writer import SocketWriter
from relay.exceptions import ParameterInvalid, RelayError
from relay.observability import metrics
from relay.policies import Handshake, Identity
from relay.protocol.frames import Frame, Snapshot


class ChatStream(TurnStream):
    """A turn's chunks, numbered from 0, each as a text with a line end behind it.

    The same frames give the same numbers, so a client that comes back is given those behind its last one.

    Args:
        request_id: repeated in every text.
        last_sequence: of the last chunk that the client has; -1: none.
        writer: of the shared socket.
        close_socket: is called if the client takes no more, so that it could not be told that the turn breaks off.
    """

    gauge = metrics.SOCKET_CHATS

    def __init__(
        self,
        session_id: str,
        handshake: Handshake,
        identity: Identity,
        *,
        request_id: str,
        last_sequence: int,
        writer: SocketWriter,
        close_socket: Callable[[RelayError], None],
    ) -> None:
        super().__init__(session_id, handshake, identity, end=[encode("end", request_id)])
        self._chunk_head = chunk_head(request_id)
        self._sequence = -1
        self._last_sequence = last_sequence
        self._writer = writer
        self._close_socket = close_socket

    @property
    def blocked_seconds(self) -> float:
        """See ``Transport``: of the socket, which other turns use, too."""
        return self._writer.blocked_seconds if self._is_sending else 0.0

    @property
    def takes_snapshot(self) -> bool:
        """Its chunks have other numbers than those that a client may have."""
        return super().takes_snapshot and self._last_sequence < 0

    def encode_frame(self, frame: Frame, events: list[str]) -> bytes:
        """Number the chunks of a frame."""
        return self._numbered(events)

    def encode_snapshot(self, snapshot: Snapshot, events: list[str]) -> bytes:
        """Number the chunks of a snapshot."""
        return self._numbered(events)

    def _numbered(self, chunks: list[str]) -> bytes:
        texts = []
        for chunk in chunks:
            self._sequence += 1
            if self._sequence > self._last_sequence:
                texts.append(f'{self._chunk_head}{self._sequence},"chunk":{chunk}}}\n')
        return "".join(texts).encode()

    def _ending(self) -> bytes:
        if self._sequence < self._last_sequence:  # an end without the chunks would look like an answer
            raise ParameterInvalid("lastSequence is beyond the answer's end.")
        return b"".join([event.encode() + b"\n" for event in self._end_events])

    def encode_heartbeat(self) -> bytes:
        """Write nothing: the client knows no such frame, and the server pings."""
        return b""

    def encode_disconnect(self, reason: RelayError) -> bytes:
        """Write nothing: the socket tells the reason."""
        return b""

    def _cut(self) -> None:
        if self._serving is not None and self._leaving is not None:
            self._close_socket(self._leaving)
