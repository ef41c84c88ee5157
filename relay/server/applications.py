"""Connections and their ASGI applications: each connection starts one, feeds it, and ends with it."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from daphne.server import Server

from relay.conf.parsers import TrustedProxies
from relay.server.flow import Message
from relay.server.http import HttpRequest
from relay.server.reading import ReadScheduler
from relay.server.waiting import LightQueue
from relay.server.watchdog import Watchdog
from relay.server.websocket import ClientLeft, WebSocketConnection
from relay.server.writing import WriteBatcher

logger = logging.getLogger(__name__)

Protocol = HttpRequest | WebSocketConnection


class ApplicationServer(Server):  # type: ignore[misc]  # daphne has no types
    """Runs an ASGI application for each connection. daphne polls for ended ones each second; here a callback tells."""

    trusted_proxies: TrustedProxies = 0
    max_messages: int | None = None  # that one socket may send within ``limits.WATCH_SECONDS``; more are read later
    is_stopping = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take daphne's arguments."""
        super().__init__(*args, **options)
        self.connections: dict[Protocol, dict[str, Any]] = {}
        self.watchdog = Watchdog(self.connections)
        self.write_batcher = WriteBatcher()
        self.read_scheduler = ReadScheduler()

    def protocol_connected(self, protocol: Protocol) -> None:
        """Register a connection. A second call changes nothing."""
        if protocol not in self.connections:
            self.connections[protocol] = {"connected": time.time()}
            self.watchdog.wake(protocol)

    def protocol_disconnected(self, protocol: Protocol) -> None:
        """Remove a connection as soon as its application has ended too. A second call changes nothing."""
        details = self.connections.get(protocol)
        if details is None:
            return
        details.setdefault("disconnected", time.time())
        self.watchdog.wake(protocol)  # for the time limit of its application
        if "application_instance" not in details:
            self._remove(protocol)

    def create_application(self, protocol: Protocol, scope: dict[str, Any]) -> LightQueue[Message]:
        """Start a connection's application and return the queue that it receives from."""
        protocol.amend_scope(scope)
        queue = protocol.make_receive_queue() if isinstance(protocol, WebSocketConnection) else LightQueue()
        scope.setdefault("asgi", {"version": "3.0", "spec_version": "2.4"})
        running = self.application(scope=scope, receive=queue.get, send=partial(self.handle_reply, protocol))
        task = asyncio.ensure_future(running)
        self.connections[protocol]["application_instance"] = task
        task.add_done_callback(partial(self._application_ended, protocol))
        return queue

    async def handle_reply(self, protocol: Protocol, message: Message) -> None:
        """Send an application's message once the client has room for it.

        Raises:
            ClientLeft: the socket is closed. (To a closed HTTP connection, sending does nothing.)
        """
        if protocol.write_flow.is_paused and message["type"] != "websocket.close":
            await protocol.write_flow.wait()
        if not isinstance(protocol, WebSocketConnection):
            await super().handle_reply(protocol, message)
        elif "disconnected" not in self.connections.get(protocol, {"disconnected": True}):
            protocol.handle_reply(message)
        elif message["type"] != "websocket.close":
            raise ClientLeft
        if protocol.frame_writer.is_full:  # a client that reads at once would leave the loop to no other connection
            await asyncio.sleep(0)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write to the access log, without the query string, which may hold credentials."""
        if self.action_logger:
            self.action_logger(protocol, action, {**details, "path": details["path"].partition("?")[0]})

    def _remove(self, protocol: Protocol) -> None:
        del self.connections[protocol]
        self.watchdog.forget(protocol)

    def _application_ended(self, protocol: Protocol, task: asyncio.Task[None]) -> None:
        details = self.connections.get(protocol, {})
        details.pop("application_instance", None)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not isinstance(error, ClientLeft):
            logger.error("%r: application failed", protocol, exc_info=error)
        try:
            if "disconnected" in details:
                self._remove(protocol)
            elif details:
                protocol.application_ended(error)
        except Exception:
            logger.exception("%r: end failed, connection aborted", protocol)
            protocol.abort()
