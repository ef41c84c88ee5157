"""One request of a chat on a shared socket: a message that is sent, or a turn that is resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from relay.access.auth import admit
from relay.adapters.ai_sdk import AiSdkTranslator, read_request
from relay.adapters.ai_sdk_frames import (
    RESUME,
    SEND,
    ClientFrame,
    credential_of,
    encode,
    last_sequence_of,
    post_body,
)
from relay.adapters.base import session_id_of
from relay.adapters.chat_stream import ChatStream
from relay.adapters.entrance import check_message, parse, request_limits
from relay.delivery.socket_writer import SocketWriter
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import ParameterInvalid, RelayError
from relay.observability import logging_config
from relay.policies import Handshake
from relay.policies.handshake import TICKET_PARAMETER, TICKET_SUBPROTOCOL
from relay.process import lifecycle
from relay.protocol.request_headers import TRACEPARENT


class Chat:
    """A request from its admission to its end.

    Args:
        handshake: of the socket.
        close_socket: is called if the client takes no more.

    Attributes:
        decided: is done once the message is stored or refused, or the turn found.
        has_started: was the client told that its answer follows?
    """

    def __init__(
        self, frame: ClientFrame, handshake: Handshake, writer: SocketWriter, close_socket: Callable[[RelayError], None]
    ) -> None:
        self.decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_started = False
        self._frame = frame
        self._handshake = handshake
        self._writer = writer
        self._close_socket = close_socket
        self._fields: dict[str, Any] = {}
        self._stream: ChatStream
        self._turn_id: str | None = None
        self._is_aborted = False

    async def answer(self) -> None:
        """Answer the request up to the turn's end.

        Raises:
            RelayError: the request is refused, or its answer breaks off.
            ClientGone: the client left.
        """
        try:
            self._fields = parse(self._frame.members)
            await {SEND: self._send, RESUME: self._resume}.get(self._frame.kind, self._refuse)()
        finally:
            self._decide()

    async def abort(self) -> None:
        """Cancel the turn, also one that is about to be accepted: the client does not wait for its answer."""
        self._is_aborted = True
        if self._turn_id is not None:
            await self._cancel(self._turn_id)

    # The kinds of requests.

    async def _send(self) -> None:
        session_id, message = read_request(post_body(self._fields), request_limits())
        check_message(message)
        stream = await self._admitted(session_id)
        async with aclosing(await stream.open()) as chunks:
            accepted = await stream.start_turn(message, self._handshake.header(TRACEPARENT))
            await self._follow(stream, chunks, accepted.turn_id)

    async def _resume(self) -> None:
        session_id = session_id_of(self._fields.get("id"), "id")
        stream = await self._admitted(session_id, last_sequence_of(self._fields))
        state = await within_store_timeout((await lifecycle.current()).layer.get(session_id))
        if state is None or (turn_id := state.unended_turn_id) is None:
            await self._writer.send(encode("no-active", self._frame.request_id))
            return
        async with aclosing(await stream.open()) as chunks:
            stream.attach(state)
            await self._follow(stream, chunks, turn_id)

    async def _refuse(self) -> None:
        raise ParameterInvalid(f"type must be {SEND}, {RESUME} or abort.")

    async def _admitted(self, session_id: str, last_sequence: int = -1) -> ChatStream:
        """Ask the access policy, as for a connection to the chat's session alone."""
        logging_config.bind(session_id=session_id)
        handshake = _for_session(self._handshake, session_id, credential_of(self._fields))
        identity = await admit(handshake, (await lifecycle.current()).policy)
        return ChatStream(
            session_id,
            handshake,
            identity,
            request_id=self._frame.request_id,
            last_sequence=last_sequence,
            writer=self._writer,
            close_socket=self._close_socket,
        )

    # The answer.

    async def _follow(self, stream: ChatStream, chunks: AsyncGenerator[bytes, None], turn_id: str) -> None:
        self._stream, self._turn_id = stream, turn_id
        self._decide()
        if self._is_aborted:
            await self._cancel(turn_id)
        stream.follow(AiSdkTranslator(turn_id, has_approvals=True))
        await self._writer.send(encode("start", self._frame.request_id))
        self.has_started = True
        async for chunk in chunks:
            texts = [text.decode() for text in chunk.splitlines()]
            if texts and not self._writer.send_now(texts):
                for text in texts:
                    await self._writer.send(text)
        if not stream.is_over:
            raise stream.left_for or RelayError

    async def _cancel(self, turn_id: str) -> None:
        connection = self._stream.connection
        layer = connection.gateway.layer
        await within_store_timeout(layer.cancel(connection.session_id, turn_id, connection.subject))

    def _decide(self) -> None:
        if not self.decided.done():
            self.decided.set_result(None)


def _for_session(handshake: Handshake, session_id: str, credential: str | None) -> Handshake:
    """Return a socket's handshake as one with a session; the request's own credential replaces the socket's."""
    if credential is None:
        return msgspec.structs.replace(handshake, session_id=session_id)
    return msgspec.structs.replace(
        handshake,
        session_id=session_id,
        headers=tuple(header for header in handshake.headers if header[0].lower() != b"authorization"),
        query={**handshake.query, TICKET_PARAMETER: credential},
        subprotocols=tuple(name for name in handshake.subprotocols if not name.startswith(TICKET_SUBPROTOCOL)),
    )
