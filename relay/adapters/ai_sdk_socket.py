"""The AI SDK over WebSocket: a message that is sent, or a turn that is resumed, with numbered chunks."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any, Final

from relay.access.auth import redeem
from relay.adapters.ai_sdk import AiSdkTranslator, read_request
from relay.adapters.ai_sdk_frames import (
    RESUME,
    SEND,
    chunk_head,
    credential_of,
    encode,
    encode_error,
    last_sequence_of,
    post_body,
    read_frame,
)
from relay.adapters.base import session_id_of
from relay.adapters.entrance import check_message, request_limits
from relay.adapters.socket_chat import Chat, SocketProtocol
from relay.adapters.socket_stream import SharedSocket, SocketStream
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ParameterInvalid
from relay.policies import Handshake, Identity
from relay.process import lifecycle
from relay.protocol.frames import Frame, Snapshot
from relay.protocol.request_headers import TRACEPARENT


class AiSdkChat(Chat):
    """A request of ``WebSocketChatTransport``."""

    async def _serve(self, fields: dict[str, Any]) -> None:
        if self.frame.kind == SEND:
            await self._start_turn(fields)
        elif self.frame.kind == RESUME:
            await self._resume(fields)
        else:
            raise ParameterInvalid(f"type must be {SEND}, {RESUME} or abort.")

    async def _start_turn(self, fields: dict[str, Any]) -> None:
        session_id, message = read_request(post_body(fields), request_limits())
        check_message(message)
        stream = self._stream_of(session_id, await self._admit(session_id, credential_of(fields)))
        async with aclosing(await stream.open()) as chunks:
            accepted = await stream.start_turn(message, self._handshake.header(TRACEPARENT))
            translator = AiSdkTranslator(accepted.turn_id, has_approvals=True, continues=True)
            await self._follow(stream, chunks, translator, first=self._start_text())

    async def _resume(self, fields: dict[str, Any]) -> None:
        session_id = session_id_of(fields.get("id"), "id")
        last_sequence = last_sequence_of(fields)
        handshake, identity = await self._admit(session_id, credential_of(fields))
        gateway = await lifecycle.current()
        state = await within_store_timeout(gateway.layer.get(session_id, identity.subject))
        if state is None or (turn_id := state.unended_turn_id) is None:
            await within_store_timeout(redeem(handshake, gateway.policy, ""))
            await self._socket.writer.send(encode("no-active", self.frame.request_id))
            return
        stream = self._stream_of(session_id, (handshake, identity), last_sequence)
        async with aclosing(await stream.open()) as chunks:
            stream.attach(state)
            translator = AiSdkTranslator(turn_id, has_approvals=True)
            await self._follow(stream, chunks, translator, first=self._start_text())

    def _stream_of(self, session_id: str, admitted: tuple[Handshake, Identity], last_sequence: int = -1) -> ChatStream:
        return ChatStream(session_id, *admitted, self._socket, self.frame.request_id, last_sequence)

    def _start_text(self) -> str:
        return encode("start", self.frame.request_id)


class ChatStream(SocketStream):
    """A turn's chunks, numbered from 0.

    The same frames give the same numbers, so a client that comes back is given those behind its last one.

    Args:
        request_id: repeated in every text.
        last_sequence: of the last chunk that the client has; -1: none.
    """

    def __init__(
        self,
        session_id: str,
        handshake: Handshake,
        identity: Identity,
        socket: SharedSocket,
        request_id: str,
        last_sequence: int,
    ) -> None:
        super().__init__(session_id, handshake, identity, end=[encode("end", request_id)])
        self._socket = socket
        self._chunk_head = chunk_head(request_id)
        self._sequence = -1
        self._last_sequence = last_sequence

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


AI_SDK: Final = SocketProtocol("ai-sdk", "requestId", AiSdkChat, read_frame, encode_error)
