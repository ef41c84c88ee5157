"""One socket: a client's frames in, a session's frames out.

Handlers return at once, because a consumer handles one message at a time: longer work goes through the message
queue (one message after another) or the watching task (the log). Both end with the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, Final

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from relay.access.auth import limited_network, read_handshake
from relay.access.rate_limits import take_message, take_reading
from relay.conf import conf
from relay.delivery.client_writer import SEND_NOW, ClientGone
from relay.delivery.dialects import dialect_of
from relay.delivery.inbox import MessageQueue, Received
from relay.delivery.session_connection import SessionConnection, Welcome, record_refusal
from relay.delivery.socket_writer import SocketWriter
from relay.delivery.subscription import Subscription
from relay.delivery.timeouts import run_to_completion, within_store_timeout
from relay.exceptions import (
    ClientMessageInvalid,
    NotOwner,
    RateLimited,
    RelayError,
    SessionDeleted,
    ShuttingDown,
    StoreUnavailable,
    TooSlow,
)
from relay.layers.values import Accepted, CancelAck, new_turn
from relay.observability import logging_config, metrics
from relay.policies import Handshake
from relay.policies.handshake import parse_query
from relay.protocol import frames, json_text
from relay.protocol.client_messages import Cancel, ReadHistory, parse_client_message
from relay.protocol.cursor import Cursor, query_cursor
from relay.protocol.frames import CloseCode
from relay.protocol.request_headers import REQUEST_ID, TRACEPARENT
from relay.tasks import cancel_and_wait
from relay.transcripts.history import HistoryPage
from relay.transcripts.kept_turn import Reader
from relay.turns import recorder

logger = logging.getLogger(__name__)

DISCONNECT_SECONDS: Final = 1.0  # for the client to take its last frame before the socket is closed


class SessionConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A client on one session, in the dialect that it asked for; the transport of a ``SessionConnection``."""

    has_idle_timeout = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.session_id: str = scope["url_route"]["kwargs"]["session_id"]
        self._dialect = dialect_of(scope["subprotocols"])
        self.gauge = metrics.SOCKETS.labels(self._dialect.name)
        self._connection: SessionConnection | None = None
        self._subscription: Subscription
        self._watching: asyncio.Task[None] | None = None
        self._writer = SocketWriter(send, scope.get("extensions", {}).get(SEND_NOW))
        self._messages = MessageQueue(self._handle)
        self._readings = MessageQueue(self._handle)  # of the history: a slow database delays no message
        self._traceparent: str | None = None
        self.scope = scope
        self.base_send = send
        try:
            await self._dispatch_all(receive)
        finally:  # also where the server cancels the consumer without calling websocket_disconnect()
            await run_to_completion(self._end())

    async def _dispatch_all(self, receive: Any) -> None:
        """Handle each ASGI message until the socket is closed.

        Replaces Channels' loop, which has a task for each message and another for the socket's channel: no code sends
        to that channel, and both together hold 5 kB of every idle socket.
        """
        with contextlib.suppress(StopConsumer):
            while True:
                await self.dispatch(await receive())
                await asyncio.sleep(0)  # the messages of a burst are handled between, and not refused as a crowd

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler, without Channels' hop through a thread for old database connections: there are none here.

        A type without a handler is ignored: a server that supports more of ASGI may send it.
        """
        handler = getattr(self, get_handler_name(message), None)
        if handler is not None:
            await handler(message)

    # The socket's life.

    async def connect(self) -> None:
        query = parse_query(self.scope["query_string"])
        handshake = self._read_handshake(query)
        logging_config.bind(session_id=self.session_id)
        logging_config.bind_request(handshake.header(REQUEST_ID), handshake.header(TRACEPARENT))
        self._traceparent = handshake.header(TRACEPARENT)
        self._connection = connection = SessionConnection(self.session_id, self, handshake, limited_network(handshake))
        try:
            welcome = await connection.open(partial(self._dialect.subscribe, query))
        except RelayError as exc:
            record_refusal(exc)
            await self._refuse(exc)
            await connection.end()
            return
        await self._serve(connection, welcome)

    async def _serve(self, connection: SessionConnection, welcome: Welcome) -> None:
        assert connection.subscription is not None  # noqa: S101 - the connection is open
        self._subscription = connection.subscription  # no frame is missed from here on
        await self.accept(subprotocol=self._dialect.subprotocol)
        if welcome is not None:
            with contextlib.suppress(ClientGone):  # the server reports it as a disconnect, too
                await self._writer.send(json_text.encode(welcome))
        self._watching = asyncio.create_task(self._watch(connection), name=f"watch {self.session_id}")
        await connection.start()

    def _read_handshake(self, query: dict[str, str]) -> Handshake:
        epoch, _ = query_cursor(query)
        has_cursor = self._dialect.has_cursor(query)
        return read_handshake(self.scope, self.session_id, has_cursor=has_cursor, cursor_epoch=epoch)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Handle what the client sent before, then end. (Without Channels' own hops through a thread.)"""
        await self._messages.finish()
        raise StopConsumer

    async def _end(self) -> None:
        """Release what the socket holds, however it ends."""
        await self._messages.stop()
        await self._readings.stop()
        if self._watching is not None:
            await cancel_and_wait(self._watching)
        await self._writer.stop()
        if self._connection is not None:
            await self._connection.end()

    # The transport of the connection.

    @property
    def is_gone(self) -> bool:
        """See ``Transport``."""
        return self._watching is None or self._watching.done()

    @property
    def idle_seconds(self) -> float:
        """See ``Transport``."""
        return self._writer.idle_seconds

    @property
    def blocked_seconds(self) -> float:
        """See ``Transport``."""
        return self._writer.blocked_seconds

    async def notify(self, text: str) -> None:
        """See ``Transport``. A client that does not read is not waited for."""
        if self._dialect.is_resumable:
            await self._say_briefly(text)

    def send_heartbeat_now(self, newest: Cursor) -> bool:
        """See ``Transport``."""
        if not self._dialect.is_resumable:
            return True
        position = self._subscription.position
        text = self._dialect.position(position) if position == newest else None
        return text is None or self._writer.send_now([text])

    async def send_heartbeat(self) -> None:
        """Tell the client how far it has read, if that is the whole log."""
        if not self._dialect.is_resumable or self._connection is None:
            return
        position = self._subscription.position
        state = await within_store_timeout(self._connection.gateway.layer.get(self.session_id))
        if state is not None and (state.epoch, state.newest) == (position.epoch, position.offset):
            await self._say(self._dialect.position(position))

    async def leave(self, reason: RelayError) -> None:
        """See ``Transport``. Nothing follows the last frame."""
        if self._watching is not None and self._watching is not asyncio.current_task():
            await cancel_and_wait(self._watching)
        if isinstance(reason, TooSlow):
            metrics.SLOW_VIEWERS.labels("closed").inc()
        await self._send_disconnect(reason)

    async def wait_closed(self) -> None:
        """See ``Transport``: ``leave`` has closed the socket."""

    # Frames out.

    async def _watch(self, connection: SessionConnection) -> None:
        try:
            await self._subscription.deliver(self._writer, self._subscription.encode)
        except ClientGone:
            return  # the server reports it as a disconnect, too
        except (SessionDeleted, NotOwner, TooSlow, StoreUnavailable) as exc:
            await connection.leave(exc)
        except Exception:
            logger.exception("socket failed")
            await self._writer.close(CloseCode.INTERNAL)

    async def _refuse(self, reason: RelayError) -> None:
        """Refuse the handshake; with the reason, if the dialect can: browsers do not show a 403 to a page."""
        if self._dialect.is_resumable:
            await self.accept(subprotocol=self._dialect.subprotocol)
            await self._send_disconnect(reason)
        else:
            await self.close()  # before accept: 403

    async def _send_disconnect(self, reason: RelayError) -> None:
        """Close, after a last frame if the dialect has one and the client takes it in time."""
        text = self._dialect.disconnect_frame(reason)
        was_taken = await self._say_briefly(text)
        await self._writer.close(frames.close_code(reason), None if was_taken else text)

    async def _say(self, text: str | None) -> None:
        if text is not None:
            await self._writer.send(text)

    async def _say_briefly(self, text: str | None) -> bool:
        """Send a frame if the client takes it soon. Returns ``True`` if it did."""
        with contextlib.suppress(ClientGone, TimeoutError):
            async with asyncio.timeout(DISCONNECT_SECONDS):
                await self._say(text)
                return True
        return False

    # Messages in.

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._connection is None or not self._connection.is_open:
            return  # the client was refused, or is being disconnected
        received = self._parsed(text_data, self._connection)
        queue = self._readings if isinstance(received, ReadHistory) else self._messages
        if not queue.put(received):
            await self._connection.leave(RateLimited())

    def _parsed(self, text: str | None, connection: SessionConnection) -> Received:
        """Parse a frame. The reason for a refusal is queued like a message, so that answers keep their order."""
        try:
            if text is None:
                raise ClientMessageInvalid
            message = parse_client_message(
                text,
                forward_types=conf.further_kinds,
                max_message_bytes=conf.max_message_bytes,
                resumable=self._dialect.is_resumable,
                message_fields=conf.message_fields,
                max_depth=conf.max_json_depth,
            )
        except RelayError as exc:
            return exc
        connection.touch()
        return message

    async def _handle(self, received: Received) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - messages come over an open connection
        client_message_id = None if isinstance(received, Cancel | RelayError) else received.client_message_id
        try:
            answer = await within_store_timeout(self._store(received, connection))
        except NotOwner as exc:  # the session was deleted, and belongs to another subject now
            recorder.message_refused(exc)
            await connection.disconnect(exc)
            return
        except RelayError as exc:
            refusal = exc
        except Exception:
            logger.exception("message failed")
            refusal = RelayError()
        else:
            await self._say(self._answer(answer, client_message_id))
            return
        recorder.message_refused(refusal)
        await self._say(self._dialect.refusal(refusal, client_message_id))

    def _answer(self, answer: Accepted | CancelAck | HistoryPage, client_message_id: str | None) -> str | None:
        match answer:
            case Accepted():
                return self._dialect.accepted(answer, client_message_id)
            case HistoryPage():
                return self._dialect.history(answer, client_message_id)
        return self._dialect.cancelled(answer)

    async def _read(self, received: ReadHistory, connection: SessionConnection) -> HistoryPage:
        gateway, is_service = connection.gateway, not connection.network
        await take_reading(gateway.layer.limits, self.session_id, connection.network)
        reader = Reader(connection.subject, is_service=is_service)
        return await gateway.history.page(self.session_id, reader, received.before, received.limit)

    async def _store(self, received: Received, connection: SessionConnection) -> Accepted | CancelAck | HistoryPage:
        gateway, subject = connection.gateway, connection.subject
        if isinstance(received, RelayError):
            raise received
        if isinstance(received, Cancel):
            return await gateway.layer.cancel(self.session_id, received.turn_id, subject)
        if isinstance(received, ReadHistory):
            return await self._read(received, connection)
        if gateway.is_draining:
            raise ShuttingDown
        await take_message(gateway.layer.limits, self.session_id, connection.network)
        turn = new_turn(received, subject=subject, outer_traceparent=self._traceparent)
        return await gateway.accept(self.session_id, turn)
