"""One socket: a client's frames in, a session's frames out.

Handlers return at once, because a consumer handles one message at a time: what takes longer goes through the inbox
(messages, one after another) or the watching task (the log). Both end with the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import aclosing
from typing import Any, Final

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from relay.access.auth import admit, limited_network, read_handshake, redeem
from relay.access.connection_limits import check_session_limit
from relay.access.rate_limits import take_message
from relay.conf import conf
from relay.delivery.dialects import dialect_of
from relay.delivery.inbox import MessageQueue, Received
from relay.delivery.socket_writer import SEND_NOW, ClientGone, SocketWriter
from relay.delivery.subscription import Subscription
from relay.delivery.timeouts import within_store_timeout
from relay.delivery.timer import Timer
from relay.exceptions import (
    ClientMessageInvalid,
    Idle,
    NotOwner,
    RateLimited,
    RelayError,
    ServerRestart,
    SessionDeleted,
    ShuttingDown,
    StoreUnavailable,
    TooSlow,
    Unauthorized,
)
from relay.layers.values import Accepted, CancelAck, new_id, new_turn
from relay.observability import logging_config, metrics
from relay.policies import Handshake, Identity
from relay.policies.handshake import parse_query
from relay.process import lifecycle
from relay.protocol import frames
from relay.protocol.client_messages import Cancel, StartTurn, parse_client_message
from relay.protocol.cursor import UNKNOWN, query_cursor
from relay.protocol.frames import CloseCode
from relay.protocol.request_headers import REQUEST_ID, TRACEPARENT
from relay.turns import recorder

logger = logging.getLogger(__name__)

BLOCKED_SECONDS: Final = 30.0  # a client that takes nothing for so long is gone, or means harm
DISCONNECT_SECONDS: Final = 1.0  # to take the last frame before the socket is closed


class SessionConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A client on one session, in the dialect that it asked for."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.session_id: str = scope["url_route"]["kwargs"]["session_id"]
        self._dialect = dialect_of(scope["subprotocols"])
        self._viewer_id = new_id()
        self._subscription: Subscription
        self._watching: asyncio.Task[None] | None = None
        self._line = SocketWriter(send, scope.get("extensions", {}).get(SEND_NOW))
        self._inbox = MessageQueue(self._handle)
        self._heartbeat = Timer(self._beat)
        self._expiry: Timer | None = None  # of the credential; most have none
        self._identity = Identity()
        self._network: str | None = None  # where its seat is counted; None: it has none
        self._is_entered = False  # among the session's viewers
        self._traceparent: str | None = None
        self._active_at = time.monotonic()
        self._seen = UNKNOWN  # where the viewer stood at the last heartbeat
        self._is_leaving = False
        self.scope = scope
        self.base_send = send
        try:
            await self._dispatch_all(receive)
        finally:  # also where the server cancels us without calling disconnect()
            await self._end()

    async def _dispatch_all(self, receive: Any) -> None:
        """Handle what comes, until the socket is closed.

        In the place of Channels' loop, which has a task for each message and another for a channel of the socket's
        own: nobody sends to it, and both together hold 5 kB of every idle socket.
        """
        with contextlib.suppress(StopConsumer):
            while True:
                await self.dispatch(await receive())
                await asyncio.sleep(0)  # what comes in a burst is handled as it comes, and not refused as a crowd

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler. Without the hop through a thread for old database connections: there are none here.

        A type without a handler is ignored: it comes from a server that knows more of ASGI.
        """
        handler = getattr(self, get_handler_name(message), None)
        if handler is not None:
            await handler(message)

    # The socket's life.

    async def connect(self) -> None:
        query = parse_query(self.scope["query_string"])
        epoch, _ = query_cursor(query)
        has_cursor = self._dialect.has_cursor(query)
        handshake = read_handshake(self.scope, self.session_id, has_cursor=has_cursor, cursor_epoch=epoch)
        logging_config.bind(session_id=self.session_id)
        logging_config.bind_request(handshake.header(REQUEST_ID), handshake.header(TRACEPARENT))
        self._gateway = await lifecycle.current()
        try:
            if self._gateway.is_draining:
                raise ServerRestart
            await self._admit(handshake)
            layer, subject = self._gateway.layer, self._identity.subject
            self._subscription, welcome = await within_store_timeout(
                self._dialect.begin(layer, self.session_id, query, subject)
            )
            await within_store_timeout(redeem(handshake, self._gateway.policy, self._subscription.log_epoch))
        except RelayError as exc:
            metrics.DISCONNECTS.labels(exc.code).inc()
            logger.info("socket refused: %s", exc.code)
            await self._refuse(exc)
            await self._detach()
            return
        await self.accept(subprotocol=self._dialect.subprotocol)  # what is said from here on is not missed
        with contextlib.suppress(ClientGone):  # the server tells it to the consumer too
            await self._say(welcome)
        self._gateway.connections.add(self)
        metrics.SOCKETS.labels(self._dialect.name).inc()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.session_id}")
        self._heartbeat.schedule(conf.heartbeat_seconds)
        if self._identity.expires_at is not None:
            self._expiry = Timer(self._expire)
            self._expiry.schedule(self._identity.expires_at - time.time())
        if self._gateway.is_draining:  # since the first look at it
            await self.disconnect()  # type: ignore[unreachable]  # mypy does not know what happens in an await

    async def _admit(self, handshake: Handshake) -> None:
        """Enter the session, if the client may: by its address, by the policy, and by those that watch already."""
        network = limited_network(handshake)
        self._gateway.connection_limiter.acquire(network)
        self._network = network
        self._identity = await admit(handshake, self._gateway.policy)
        self._traceparent = handshake.header(TRACEPARENT)
        layer = self._gateway.layer
        viewers = await within_store_timeout(layer.attach(self.session_id, self._viewer_id, self._identity.subject))
        self._is_entered = True
        check_session_limit(viewers)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """End, once what was said before is done; ``__call__`` ends what the socket began, however it ends.

        (Channels' own hops through a thread, too.)
        """
        await self._inbox.finish()
        raise StopConsumer

    async def _end(self) -> None:
        """End what the socket began."""
        await self._heartbeat.stop()
        if self._expiry is not None:
            await self._expiry.stop()
        await self._inbox.stop()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._line.stop()
        if self._network is not None:
            self._gateway.connection_limiter.release(self._network)
        if self._watching is not None:
            self._gateway.connections.discard(self)
            metrics.SOCKETS.labels(self._dialect.name).dec()
        await self._detach()

    async def _detach(self) -> None:
        if not self._is_entered:
            return
        self._is_entered = False
        try:
            if await within_store_timeout(self._gateway.layer.detach(self.session_id, self._viewer_id)) == 0:
                self._gateway.on_disconnect.last_viewer_left(self.session_id)
        except StoreUnavailable:  # its entry lapses by itself; the layer logs why
            logger.debug("viewer not detached: store unavailable")

    # What a drain or an operator asks for.

    def has_seen(self, offset: int) -> bool:
        """Was everything up to ``offset`` handed to the server, or has the client left?"""
        if self._watching is None or self._watching.done():
            return True
        return self._subscription.position.offset >= offset and not self._line.blocked_seconds

    async def disconnect(self, reason: RelayError | None = None) -> None:
        """Say why, by default that the server restarts, and close, in mid-answer too."""
        if self._watching is not None:
            self._watching.cancel()  # nothing follows the farewell
        await self._leave(reason or ServerRestart())

    async def notify(self, text: str) -> None:
        """Send a frame that is not the log's, if the dialect has such; who takes nothing is not waited for."""
        if self._dialect.is_resumable:
            await self._say_briefly(text)

    # Frames out.

    async def _watch(self) -> None:
        try:
            async with aclosing(self._subscription.batches(self._line)) as batches:
                async for batch in batches:
                    for text in self._subscription.encode(batch):
                        await self._line.send(text)
        except ClientGone:
            return  # the server tells it to the consumer too
        except (SessionDeleted, NotOwner, TooSlow, StoreUnavailable) as exc:
            await self._leave(exc)
        except Exception:
            logger.exception("socket failed")
            await self._line.close(CloseCode.INTERNAL)

    async def _refuse(self, reason: RelayError) -> None:
        """Refuse the handshake; or say why, if the dialect can: a browser could not tell a 403 from a lost line."""
        if self._dialect.is_resumable:
            await self.accept(subprotocol=self._dialect.subprotocol)
            await self._send_disconnect(reason)
        else:
            await self.close()  # before accept: 403

    async def _leave(self, reason: RelayError) -> None:
        """Send the client away."""
        metrics.DISCONNECTS.labels(reason.code).inc()
        logger.info("socket disconnected: %s", reason.code, extra={"session_id": self.session_id})
        if isinstance(reason, TooSlow):
            metrics.SLOW_VIEWERS.labels("closed").inc()
        await self._send_disconnect(reason)

    async def _send_disconnect(self, reason: RelayError) -> None:
        """Close, with words if the dialect has any and the client takes them in time."""
        self._is_leaving = True
        text = self._dialect.disconnect_frame(reason)
        was_taken = await self._say_briefly(text)
        await self._line.close(frames.close_code(reason), None if was_taken else text)

    async def _say(self, text: str | None) -> None:
        if text is not None:
            await self._line.send(text)

    async def _say_briefly(self, text: str | None) -> bool:
        """Send a frame, if the client takes it soon. Returns whether it did."""
        with contextlib.suppress(ClientGone, TimeoutError):
            async with asyncio.timeout(DISCONNECT_SECONDS):
                await self._say(text)
                return True
        return False

    # Messages in.

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._watching is None or self._is_leaving:
            return  # it was turned away, or is being sent away: it has nothing to say here
        if not self._inbox.put(self._parsed(text_data)):
            await self._leave(RateLimited())

    def _parsed(self, text: str | None) -> Received:
        """Read a frame, or say why it is refused: the answer comes in its turn."""
        try:
            if text is None:
                raise ClientMessageInvalid
            message = parse_client_message(
                text,
                forward_types=frozenset(conf.forward_types),
                max_message_bytes=conf.max_message_bytes,
                resumable=self._dialect.is_resumable,
                max_depth=conf.max_json_depth,
            )
        except RelayError as exc:
            return exc
        self._active_at = time.monotonic()
        return message

    async def _handle(self, received: Received) -> None:
        client_message_id = received.client_message_id if isinstance(received, StartTurn) else None
        try:
            answer = await within_store_timeout(self._store(received))
        except NotOwner as exc:  # the session was deleted, and is another subject's by now
            recorder.message_refused(exc)
            await self.disconnect(exc)
            return
        except RelayError as exc:
            refusal = exc
        except Exception:
            logger.exception("message failed")
            refusal = RelayError()
        else:
            if isinstance(answer, Accepted):
                await self._say(self._dialect.accepted(answer, client_message_id))
            else:
                await self._say(self._dialect.cancelled(answer))
            return
        recorder.message_refused(refusal)
        await self._say(self._dialect.refusal(refusal, client_message_id))

    async def _store(self, received: Received) -> Accepted | CancelAck:
        layer = self._gateway.layer
        if isinstance(received, RelayError):
            raise received
        if isinstance(received, Cancel):
            return await layer.cancel(self.session_id, received.turn_id, self._identity.subject)
        if self._gateway.is_draining:
            raise ShuttingDown
        await take_message(layer.limits, self.session_id, self._network or "")
        turn = new_turn(received, subject=self._identity.subject, shown_traceparent=self._traceparent)
        accepted = await layer.enqueue(self.session_id, turn)
        recorder.message_accepted(self.session_id, accepted)
        self._gateway.runner.wake(self.session_id)
        return accepted

    # Signs of life, and the end of a credential.

    async def _beat(self) -> None:
        """Keep the viewer entered, and tell a quiet line where it stands."""
        interval_seconds = conf.heartbeat_seconds
        try:
            await self._gateway.layer.attach(self.session_id, self._viewer_id, self._identity.subject)
            if self._line.blocked_seconds >= BLOCKED_SECONDS:
                await self._leave(TooSlow())
            elif 0 < conf.idle_timeout_seconds <= self._idle_seconds():
                await self.disconnect(Idle())
            elif self._line.idle_seconds >= interval_seconds and self._dialect.is_resumable:
                await self._tell_position()
        except ClientGone:
            return
        except NotOwner as exc:  # the session was deleted, and is somebody else's now
            await self.disconnect(exc)
            return
        except StoreUnavailable:  # the next heartbeat tries again; the layer logs why
            logger.debug("heartbeat failed: store unavailable")
        except Exception as exc:
            logger.warning("heartbeat failed: %s", type(exc).__name__)
        next_seconds = interval_seconds - self._line.idle_seconds
        self._heartbeat.schedule(next_seconds if next_seconds > 0 else interval_seconds)

    async def _tell_position(self) -> None:
        position = self._subscription.position
        state = await self._gateway.layer.get(self.session_id)
        if state is not None and (state.epoch, state.newest) == (position.epoch, position.offset):
            await self._say(self._dialect.position(position))

    def _idle_seconds(self) -> float:
        """Say for how long neither side has said anything, as far as heartbeats have seen it."""
        if self._subscription.position != self._seen:
            self._seen, self._active_at = self._subscription.position, time.monotonic()
        return time.monotonic() - self._active_at

    async def _expire(self) -> None:
        seconds_left = (self._identity.expires_at or 0.0) - time.time()
        if seconds_left > 0 and self._expiry is not None:
            self._expiry.schedule(seconds_left)
        else:
            await self.disconnect(Unauthorized())
