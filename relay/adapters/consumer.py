"""One socket, and on it the requests of many chats, each answered in a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, Final

from relay.access.auth import admit, limited_network, read_handshake
from relay.adapters.client_frame import ABORT, ClientFrame
from relay.adapters.entrance import outline
from relay.adapters.socket_chat import Chat, SocketProtocol
from relay.adapters.socket_stream import SharedSocket
from relay.conf import conf
from relay.delivery.client_writer import SEND_NOW, ClientGone
from relay.delivery.session_connection import BLOCKED_SECONDS, record_refusal
from relay.delivery.socket_writer import SocketWriter
from relay.delivery.timeouts import run_to_completion
from relay.delivery.timer import Timer
from relay.exceptions import (
    Idle,
    ParameterInvalid,
    RateLimited,
    RelayError,
    ServerRestart,
    TooSlow,
)
from relay.layers.values import new_id
from relay.observability import logging_config, metrics
from relay.policies.ticket import TicketPolicy
from relay.process import lifecycle
from relay.process.lifecycle import Gateway
from relay.protocol.frames import CloseCode, close_code
from relay.protocol.request_headers import REQUEST_ID, TRACEPARENT
from relay.tasks import cancel_and_wait

MAX_REQUESTS: Final = 64  # of one socket at once; more are refused
SAY_SECONDS: Final = 1.0  # for the client to take the words of a refusal before the socket is closed
FINISH_SECONDS: Final = 2.0  # as long as a message may wait for the store

logger = logging.getLogger(__name__)


Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application; hence ``Any``."""


def chat_sockets(protocol: SocketProtocol) -> Application:
    """Make the application that serves the sockets of a protocol."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await ChatSocket(scope, send, protocol).serve(receive)

    return serve


class ChatSocket:
    """A socket of no session: to drains and operators a connection that has seen everything.

    It counts as one connection of its client, and each chat on it, while it is answered, as one more.
    """

    def __init__(self, scope: Any, send: Any, protocol: SocketProtocol) -> None:
        self._protocol = protocol
        self.session_id = f"socket:{new_id()}"  # which no client knows
        self._handshake = read_handshake(scope, self.session_id, has_cursor=False, cursor_epoch="")
        self._writer = SocketWriter(send, scope.get("extensions", {}).get(SEND_NOW))
        self._send = send
        self._network = limited_network(self._handshake)
        self._chats: dict[str, Chat] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._aborts: set[asyncio.Task[None]] = set()
        self._active_at = monotonic()
        self._watching = Timer(self._watch)
        self._is_leaving = False

    # The socket's life.

    async def serve(self, receive: Any) -> None:
        """Serve the socket from its handshake to its end."""
        logging_config.bind_request(self._handshake.header(REQUEST_ID), self._handshake.header(TRACEPARENT))
        await receive()  # ASGI: websocket.connect
        gateway = await lifecycle.current()
        with contextlib.ExitStack() as held:
            try:
                await self._open(gateway, held)
            except RelayError as exc:
                record_refusal(exc)
                await self._send({"type": "websocket.close"})  # before accept: 403
                return
            try:
                if gateway.is_draining:  # since ``_open`` looked
                    self._spawn(self.disconnect())
                self._opened()
                await self._receive_all(receive)
            finally:  # also where the server cancels the application
                await run_to_completion(self._end())

    async def _open(self, gateway: Gateway, held: contextlib.ExitStack) -> None:
        """Admit the client. A ticket is good for one session, so with tickets each request shows its own.

        Raises:
            RelayError: the client is refused.
        """
        if gateway.is_draining:
            raise ServerRestart
        gateway.connection_limiter.acquire(self._network)
        held.callback(gateway.connection_limiter.release, self._network)
        if not isinstance(gateway.policy, TicketPolicy):
            await admit(self._handshake, gateway.policy)
        gauge = metrics.SOCKETS.labels(self._protocol.name)
        gauge.inc()
        held.callback(gauge.dec)
        gateway.connections.add(self)
        held.callback(gateway.connections.discard, self)
        await self._send({"type": "websocket.accept"})
        self._watching.schedule(conf.heartbeat_seconds)

    async def _receive_all(self, receive: Any) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] == "websocket.receive" and not self._is_leaving:
                await self._handle(message.get("text"))
            await asyncio.sleep(0)  # the messages of a burst are handled between
        deciding = [*self._aborts, *(chat.decided for chat in self._chats.values())]
        if deciding:  # the orders of a client that has left are carried out
            await asyncio.wait(deciding, timeout=FINISH_SECONDS)

    async def _end(self) -> None:
        self._is_leaving = True
        await self._watching.stop()
        await cancel_and_wait(*self._tasks)
        await self._writer.stop()

    async def _watch(self) -> None:
        """Close the socket of a client that takes nothing, or that has had nothing to say for too long."""
        if self._tasks:
            self._active_at = monotonic()
        if self._writer.blocked_seconds >= BLOCKED_SECONDS:
            await self.leave(TooSlow())
        elif 0 < conf.idle_timeout_seconds <= monotonic() - self._active_at:
            await self.leave(Idle())
        else:
            if self._protocol.ping:
                self._writer.send_now([self._protocol.ping])  # not while earlier texts wait for the client
            self._watching.schedule(conf.heartbeat_seconds)

    # As the connections of sessions: drains and operators find it.

    def has_seen(self, offset: int) -> bool:
        """See ``Connection``: there is no log."""
        return True

    async def notify(self, text: str) -> None:
        """See ``Connection``: the client knows no such frames."""

    async def disconnect(self, reason: RelayError | None = None) -> None:
        """Close the socket once no chat on it is being answered; each is a connection of its session's, too."""
        while answering := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(answering)
        await self.leave(reason or ServerRestart())

    async def leave(self, reason: RelayError, code: CloseCode | None = None) -> None:
        """Close the socket; requests without an end have failed to the client. The first reason counts."""
        if self._is_leaving:
            return
        metrics.DISCONNECTS.labels(reason.code).inc()
        logger.info("client disconnected: %s", reason.code)
        if isinstance(reason, TooSlow):
            metrics.SLOW_VIEWERS.labels("closed").inc()
        await self._close(close_code(reason) if code is None else code)

    async def _close(self, code: CloseCode, words: str = "") -> None:
        if self._is_leaving:
            return
        self._is_leaving = True
        this = asyncio.current_task()
        await cancel_and_wait(*(task for task in self._tasks if task is not this))
        await self._writer.close(code, words=words)

    # Requests.

    def _opened(self) -> None:
        """Do what the client need not ask for."""

    async def _handle(self, text: str | None) -> None:
        self._active_at = monotonic()
        try:
            frame = self._protocol.read_frame(
                outline(text.encode("utf-8", "surrogatepass") if text is not None else b"")
            )
        except RelayError as exc:
            await self._refuse(None, exc)
            return
        known = self._chats.get(frame.request_id)
        if len(self._tasks) >= 2 * MAX_REQUESTS:
            await self.leave(RateLimited())
        elif frame.kind == ABORT:
            if known is not None:
                aborting = self._spawn(_abort(known))
                self._aborts.add(aborting)
                aborting.add_done_callback(self._aborts.discard)
        elif known is not None and not known.is_over:
            if not (self._protocol.ignores_repeats and known.frame == frame):
                in_use = ParameterInvalid(f"{self._protocol.id_member} is in use.")
                self._spawn(self._refuse(frame.request_id, in_use))
        elif len(self._chats) >= MAX_REQUESTS:
            metrics.RATE_LIMITED.labels("inbox").inc()
            self._spawn(self._refuse(frame.request_id, RateLimited()))
        else:
            self._start(frame)

    def _start(self, frame: ClientFrame) -> None:
        socket = SharedSocket(self._writer, self._leave_soon)
        chat = self._chats[frame.request_id] = self._protocol.chat(frame, self._handshake, socket)
        answering = self._spawn(self._answer(chat))
        answering.add_done_callback(lambda _: self._forget(chat))

    def _forget(self, chat: Chat) -> None:
        if self._chats.get(chat.frame.request_id) is chat:  # and no other of its name
            del self._chats[chat.frame.request_id]

    async def _answer(self, chat: Chat) -> None:
        try:
            await chat.answer()
        except ClientGone:
            return
        except RelayError as exc:
            if not chat.has_started:
                record_refusal(exc)
            await self._failed(chat, exc)
        except Exception:
            logger.exception("chat failed")
            await self._failed(chat, RelayError())
        else:
            await self._finished()

    async def _finished(self) -> None:
        """Go on after the end of a request; others follow."""

    async def _failed(self, chat: Chat, reason: RelayError) -> None:
        """Tell the client; silently where it may come back to another process."""
        if chat.has_started and isinstance(reason, ServerRestart):
            await self.leave(reason)
        else:
            await self._refuse(chat.frame.request_id, reason)

    async def _refuse(self, request_id: str | None, reason: RelayError) -> None:
        """Tell the client that a request has failed; one that does not read it is disconnected."""
        text = self._protocol.encode_error(request_id, reason)
        if text is None:
            await self.leave(reason, CloseCode.POLICY_VIOLATION)
            return
        try:
            async with asyncio.timeout(SAY_SECONDS):
                await self._writer.send(text)
        except ClientGone:
            return
        except TimeoutError:
            await self.leave(reason)

    def _leave_soon(self, reason: RelayError) -> None:
        self._spawn(self.leave(reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _abort(chat: Chat) -> None:
    with contextlib.suppress(RelayError):  # the client does not wait for the request any more
        await chat.abort()
