"""One socket: a client's frames in, a session's frames out.

Handlers return at once, because a consumer handles one message at a time: what takes longer goes through the inbox
(messages, one after another) or the watching task (the log). Both end with the socket.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import parse_qsl

from channels.consumer import get_handler_name
from channels.generic.websocket import AsyncWebsocketConsumer

from relay import frames, json_text, lifecycle, metrics
from relay.client_messages import Cancel, StartTurn, parse_client_message
from relay.conf import conf
from relay.cursor import query_cursor
from relay.exceptions import (
    ClientMessageInvalid,
    NotOwner,
    RateLimited,
    RelayError,
    ServerRestart,
    SessionDeleted,
    ShuttingDown,
    StoreUnavailable,
    TooSlow,
)
from relay.frames import CloseCode
from relay.layers.values import Accepted, CancelAck, new_id, new_turn
from relay.line import ClientGone, Line
from relay.viewers import PlainViewer, ResumableViewer

logger = logging.getLogger(__name__)

SUBPROTOCOL: Final = "gateway.v1"
STORE_SECONDS: Final = 2.0  # PROTOCOL: a message that is not stored by then is refused
MAX_INBOX: Final = 64  # messages of one socket that wait for the store; more are refused
STUCK_SECONDS: Final = 30.0  # a client that takes nothing for so long is gone, or means harm
FAREWELL_SECONDS: Final = 1.0  # to take the last frame before the socket is closed
COME_BACK_MS: Final = (500, 3_000)  # spread, so that clients that were sent away do not return all at once


class PlainConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """A client that speaks the plain protocol."""

    dialect = "plain"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.session_id: str = scope["url_route"]["kwargs"]["session_id"]
        self._viewer_id = new_id()
        self._viewer: PlainViewer | ResumableViewer
        self._watching: asyncio.Task[None] | None = None
        self._inbox: deque[StartTurn | Cancel | RelayError] = deque()
        self._reading_inbox: asyncio.Task[None] | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        self._line = Line(send)
        self._forward_types = frozenset(conf.forward_types)
        self._max_message_bytes = conf.max_message_bytes
        try:
            await super().__call__(scope, receive, send)
        finally:  # also where the server cancels us without calling disconnect()
            await self._end_tasks()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Call the handler. Without the hop through a thread for old database connections: there are none here.

        A type without a handler is ignored: it comes from a newer version, by way of the channel layer.
        """
        handler = getattr(self, get_handler_name(message), None)
        if handler is not None:
            await handler(message)

    # The socket's life.

    async def connect(self) -> None:
        self._gateway = await lifecycle.current()
        try:
            if self._gateway.is_draining:
                raise ServerRestart
            await self._gateway.layer.attach(self.session_id, self._viewer_id)
            await self._accept()
        except (NotOwner, StoreUnavailable, ServerRestart) as exc:
            await self._turn_away(exc)
            return
        self._gateway.watchers.add(self)
        metrics.SOCKETS.labels(self.dialect).inc()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.session_id}")
        self._schedule_heartbeat(conf.heartbeat_seconds)
        if self._gateway.is_draining:  # since the first look at it
            await self.send_away()  # type: ignore[unreachable]  # mypy does not know what happens in an await

    async def disconnect(self, code: int) -> None:
        """Nothing: ``__call__`` ends what the socket began, however it ends."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            if text_data is None:
                raise ClientMessageInvalid
            message = parse_client_message(
                text_data,
                forward_types=self._forward_types,
                max_message_bytes=self._max_message_bytes,
                resumable=self.dialect == SUBPROTOCOL,
            )
            if len(self._inbox) >= MAX_INBOX:
                raise RateLimited
            self._inbox.append(message)
        except RelayError as exc:
            self._inbox.append(exc)  # its answer comes in its turn
        if len(self._inbox) > 2 * MAX_INBOX:
            await self._leave(RateLimited(), CloseCode.RATE_LIMITED)
        elif self._reading_inbox is None:
            self._reading_inbox = asyncio.create_task(self._read_inbox())

    # What a drain asks for.

    def has_seen(self, offset: int) -> bool:
        """Was everything up to ``offset`` handed to the server, or has the client left?"""
        if self._watching is None or self._watching.done():
            return True
        return self._viewer.position.offset >= offset and not self._line.stuck_seconds

    async def send_away(self) -> None:
        """Say that the server restarts, and close."""
        if self._watching is not None:
            self._watching.cancel()  # nothing follows the farewell
        await self._leave(ServerRestart(), CloseCode.SERVER_RESTART)

    # What differs between the dialects.

    async def _accept(self) -> None:
        """Take up position in the log first: what is said from now on must not be missed."""
        self._viewer = viewer = PlainViewer(self._gateway.layer, self.session_id)
        await viewer.begin()
        await self.accept()

    async def _turn_away(self, reason: RelayError) -> None:
        await self.close()  # before accept: the handshake gets 403

    async def _refuse(self, reason: RelayError, client_message_id: str | None = None) -> None:
        await self._line.send(frames.plain_error(reason))

    async def _tell_accepted(self, accepted: Accepted, client_message_id: str | None) -> None:
        pass

    async def _tell_cancelled(self, ack: CancelAck) -> None:
        pass

    async def _tell_leaving(self, reason: RelayError, close_code: CloseCode) -> None:
        pass

    async def _tell_position(self) -> None:
        pass

    # Frames out.

    async def _watch(self) -> None:
        try:
            async with aclosing(self._viewer.batches()) as batches:
                async for batch in batches:
                    for text in self._viewer.texts(batch):
                        await self._line.send(text)
        except ClientGone:
            return  # the server tells it to the consumer too
        except SessionDeleted as exc:
            await self._leave(exc, CloseCode.SESSION_DELETED)
        except TooSlow as exc:
            await self._leave(exc, CloseCode.TOO_SLOW)
        except StoreUnavailable as exc:
            await self._leave(exc, CloseCode.STORE_UNAVAILABLE)
        except Exception:
            logger.exception("session %s: a viewer failed", self.session_id)
            await self._line.close(CloseCode.INTERNAL)

    async def _leave(self, reason: RelayError, close_code: CloseCode) -> None:
        """Send the client away, with words if its dialect has any and it takes them in time."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._tell_leaving(reason, close_code)
        except (ClientGone, TimeoutError):
            pass
        await self._line.close(close_code)

    # Messages in.

    async def _read_inbox(self) -> None:
        try:
            while self._inbox:
                await self._handle(self._inbox.popleft())
        except ClientGone:
            self._inbox.clear()
        finally:
            self._reading_inbox = None

    async def _handle(self, message: StartTurn | Cancel | RelayError) -> None:
        client_message_id = message.client_message_id if isinstance(message, StartTurn) else None
        try:
            async with asyncio.timeout(STORE_SECONDS):
                answer = await self._store(message)
        except RelayError as exc:
            await self._refuse(exc, client_message_id)
        except TimeoutError:
            await self._refuse(StoreUnavailable(), client_message_id)
        except Exception:
            logger.exception("session %s: a message failed", self.session_id)
            await self._refuse(RelayError(), client_message_id)
        else:
            if isinstance(answer, Accepted):
                await self._tell_accepted(answer, client_message_id)
            else:
                await self._tell_cancelled(answer)

    async def _store(self, message: StartTurn | Cancel | RelayError) -> Accepted | CancelAck:
        layer = self._gateway.layer
        if isinstance(message, RelayError):
            raise message
        if isinstance(message, Cancel):
            return await layer.cancel(self.session_id, message.turn_id)
        if self._gateway.is_draining:
            raise ShuttingDown
        accepted = await layer.enqueue(self.session_id, new_turn(message))
        self._gateway.runner.wake(self.session_id)
        return accepted

    # Signs of life.

    def _schedule_heartbeat(self, seconds: float) -> None:
        self._heartbeat = asyncio.get_running_loop().call_later(seconds, self._begin_heartbeat)

    def _begin_heartbeat(self) -> None:
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        """Keep the viewer entered, and tell a quiet line where it stands."""
        interval_seconds = conf.heartbeat_seconds
        try:
            await self._gateway.layer.attach(self.session_id, self._viewer_id)
            if self._line.stuck_seconds >= STUCK_SECONDS:
                await self._leave(TooSlow(), CloseCode.TOO_SLOW)
            elif self._line.quiet_seconds >= interval_seconds:
                await self._tell_position()
        except ClientGone:
            return
        except Exception as exc:  # an outage of the store: the next heartbeat tries again
            logger.warning("session %s: a heartbeat failed: %s", self.session_id, type(exc).__name__)
        next_seconds = interval_seconds - self._line.quiet_seconds
        self._schedule_heartbeat(next_seconds if next_seconds > 0 else interval_seconds)

    async def _end_tasks(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        tasks = [task for task in (self._watching, self._reading_inbox, self._beating) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._heartbeat is not None:
            self._heartbeat.cancel()  # a heartbeat may have set the next one
        if self._watching is not None:
            self._gateway.watchers.discard(self)
            metrics.SOCKETS.labels(self.dialect).dec()
            if await self._gateway.layer.detach(self.session_id, self._viewer_id) == 0:
                self._gateway.departures.last_viewer_left(self.session_id)


class ResumableConsumer(PlainConsumer):
    """A client that speaks ``gateway.v1``."""

    dialect = SUBPROTOCOL

    async def _accept(self) -> None:
        query = dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        epoch, offset = query_cursor(query)
        coalesce = query.get("coalesce") == "1"
        self._viewer = viewer = ResumableViewer(self._gateway.layer, self.session_id, coalesce=coalesce)
        welcome = await viewer.begin(epoch=epoch, offset=offset)
        await self.accept(subprotocol=SUBPROTOCOL)
        await self._line.send(welcome)

    async def _turn_away(self, reason: RelayError) -> None:
        # A browser cannot tell a refused handshake from a lost line, so the reason comes as a frame.
        await self.accept(subprotocol=SUBPROTOCOL)
        await self._leave(reason, _TURNED_AWAY[type(reason)])

    async def _refuse(self, reason: RelayError, client_message_id: str | None = None) -> None:
        await self._line.send(frames.v1_refusal(reason, client_message_id))

    async def _tell_accepted(self, accepted: Accepted, client_message_id: str | None) -> None:
        await self._line.send(
            json_text.encode(
                {
                    "type": "accepted",
                    "client_message_id": client_message_id,
                    "turn_id": accepted.turn_id,
                    "position": accepted.position,
                    "status": accepted.status,
                    "duplicate": accepted.duplicate,
                }
            )
        )

    async def _tell_cancelled(self, ack: CancelAck) -> None:
        await self._line.send(json_text.encode({"type": "cancel_ack", "turn_id": ack.turn_id, "status": ack.status}))

    async def _tell_leaving(self, reason: RelayError, close_code: CloseCode) -> None:
        delay_ms = random.randint(*COME_BACK_MS) if close_code in frames.COME_BACK else 0  # noqa: S311 - no secret
        await self._line.send(frames.disconnect(reason, close_code, delay_ms=delay_ms))

    async def _tell_position(self) -> None:
        position = self._viewer.position
        state = await self._gateway.layer.state(self.session_id)
        if (state.epoch, state.newest) == (position.epoch, position.offset):
            await self._line.send(
                json_text.encode({"type": "ping", "epoch": position.epoch, "offset": position.offset})
            )


_TURNED_AWAY: Final = {
    NotOwner: CloseCode.FORBIDDEN,
    StoreUnavailable: CloseCode.STORE_UNAVAILABLE,
    ServerRestart: CloseCode.SERVER_RESTART,
}
