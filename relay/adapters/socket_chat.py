"""One request on a shared socket, and what the protocol of such a socket has to say."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec

from relay.access.auth import admit
from relay.adapters.base import Translator
from relay.adapters.client_frame import ClientFrame
from relay.adapters.entrance import parse
from relay.adapters.socket_stream import SharedSocket, SocketStream
from relay.delivery.timeouts import within_store_timeout
from relay.exceptions import RelayError
from relay.observability import logging_config
from relay.policies import Handshake, Identity
from relay.policies.handshake import TICKET_PARAMETER, TICKET_SUBPROTOCOL
from relay.process import lifecycle


class Chat(ABC):
    """A request from its admission to its end.

    Args:
        handshake: of the socket.

    Attributes:
        decided: is done once the message is stored or refused, or the turn found.
        has_started: was the client told that its answer follows?
    """

    awaits_abort: ClassVar[bool] = True  # does the client wait for the end of a turn that it has stopped?

    def __init__(self, frame: ClientFrame, handshake: Handshake, socket: SharedSocket) -> None:
        self.decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_started = False
        self.frame = frame
        self._handshake = handshake
        self._socket = socket
        self._stream: SocketStream
        self._turn_id: str | None = None
        self._is_aborted = False

    @property
    def is_over(self) -> bool:
        """Is there nothing more that the client waits for?"""
        return self._is_aborted or (self._turn_id is not None and self._stream.is_over)

    async def answer(self) -> None:
        """Answer the request up to the turn's end.

        Raises:
            RelayError: the request is refused, or its answer breaks off.
            ClientGone: the client left.
        """
        try:
            await self._serve(parse(self.frame.members))
        finally:
            self._decide()

    async def abort(self) -> None:
        """Cancel the turn, also one that is about to be accepted: the client does not wait for its answer."""
        self._is_aborted = True
        if self._turn_id is not None:
            await self._cancel(self._turn_id)

    # For a subclass.

    @abstractmethod
    async def _serve(self, fields: dict[str, Any]) -> None:
        """Find or start the turn that the request (any JSON) is about, and ``follow`` it. Raises as ``answer``."""

    async def _admit(
        self, session_id: str, credential: str | None, cursor_epoch: str = ""
    ) -> tuple[Handshake, Identity]:
        """Ask the access policy, as for a connection to the session alone.

        Args:
            credential: the request's own, which replaces the socket's.
        """
        logging_config.bind(session_id=session_id)
        handshake = msgspec.structs.replace(
            _for_session(self._handshake, session_id, credential),
            has_cursor=bool(cursor_epoch),
            cursor_epoch=cursor_epoch,
        )
        return handshake, await admit(handshake, (await lifecycle.current()).policy)

    async def _follow(
        self, stream: SocketStream, chunks: AsyncGenerator[bytes, None], translator: Translator, *, first: str = ""
    ) -> None:
        """Send the turn's events, behind a first text of their own."""
        self._stream, self._turn_id = stream, translator.turn_id
        self._decide()
        if self._is_aborted:
            await self._cancel(translator.turn_id)
        stream.follow(translator)
        if first:
            await self._send([first])
        async for chunk in chunks:
            if self._is_aborted and not self.awaits_abort:
                return
            await self._send([text.decode() for text in chunk.splitlines()])
        if not stream.is_over:
            raise stream.left_for or RelayError

    async def _send(self, texts: list[str]) -> None:
        if not texts:
            return
        if not self._socket.writer.send_now(texts):
            for text in texts:
                await self._socket.writer.send(text)
        self.has_started = True

    async def _cancel(self, turn_id: str) -> None:
        connection = self._stream.connection
        layer = connection.gateway.layer
        await within_store_timeout(layer.cancel(connection.session_id, turn_id, connection.subject))

    def _decide(self) -> None:
        if not self.decided.done():
            self.decided.set_result(None)


class SocketProtocol(NamedTuple):
    """A front end's protocol over shared sockets.

    Attributes:
        name: the adapter's, and the dialect in ``gateway_sockets``.
        id_member: of a frame, with the name of its request.
        chat: the class of its requests.
        read_frame: reads the members of a frame as far as an answer needs them to name its request; a ``RelayError``
            says that no answer can.
        encode_error: writes the end of a request that has failed; ``None`` if the protocol has none for a request
            without a name.
        ping: a sign of life; empty in a protocol without one.
        ignores_repeats: is a frame like one that is being answered no request of its own?
    """

    name: str
    id_member: str
    chat: type[Chat]
    read_frame: Callable[[Mapping[str, bytes]], ClientFrame]
    encode_error: Callable[[str | None, RelayError], str | None]
    ping: str = ""
    ignores_repeats: bool = False


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
