"""The process' life: start, listen, serve, drain, stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from twisted.internet import reactor as twisted_reactor
from twisted.logger import globalLogBeginner

from relay.protocol.frames import CloseCode
from relay.server import limits
from relay.server.applications import ApplicationServer
from relay.server.http import HttpConnections
from relay.server.listening import Listener, NotListening, listen
from relay.server.websocket import WebSocketConnection, WebSocketConnections
from relay.tasks import cancel_and_wait, within

logger = logging.getLogger(__name__)

reactor: Final[Any] = twisted_reactor  # to type checkers it is a module
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LOOK_SECONDS: Final = 0.02
# No task cancels the server's own one: a CancelledError in it comes from a task that it awaits. It would end without a
# word, and the process would stay.
FAILURES: Final = (Exception, asyncio.CancelledError)


class HardenedServer(ApplicationServer):
    """Daphne's server for any ASGI application.

    A subclass adds hooks: before it listens, when it is told to stop, and after its last connection.

    Attributes:
        exit_code: the process' exit code, known after ``run``.
    """

    max_body_bytes = limits.BODY_ROOM_BYTES
    max_message_bytes = limits.MIN_MESSAGE_LIMIT_BYTES

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take daphne's arguments."""
        super().__init__(*args, **options)
        self.exit_code = 0
        self._stopping = asyncio.Event()
        self._deadline = asyncio.Event()
        self._has_successor = True
        self._listeners: list[Listener] = []
        self._life: asyncio.Task[None] | None = None

    # Hooks for a subclass.

    async def on_start(self) -> None:
        """Get ready to serve; an exception keeps the server from starting."""

    def on_listening(self, addresses: list[str]) -> None:
        """React to the start of listening."""

    async def on_drain(self, deadline: asyncio.Event) -> None:
        """Finish the work in progress; ``deadline`` is set when there is no more time for it."""

    async def on_stop(self) -> None:
        """Release all resources; no connection is left."""

    # Life.

    def run(self) -> None:
        """Serve until a signal, or ``stop``; then drain. With ``signal_handlers`` the process ends soon after that."""
        self.http_factory = HttpConnections(self, max_body_bytes=self.max_body_bytes)
        self.ws_factory = WebSocketConnections(self, name=self.server_name, max_message_bytes=self.max_message_bytes)
        globalLogBeginner.beginLoggingTo([_log_failure], redirectStandardIO=False, discardBuffer=True)
        reactor.callLater(0, self._start)
        reactor.run(installSignalHandlers=False)
        if self.signal_handlers:
            _end_without_threads(self.exit_code)

    def drain(self, *, has_successor: bool) -> None:
        """Start to drain, unless that has started.

        Args:
            has_successor: does another process accept the connections of a shared socket? Otherwise this one continues
                to accept and refuse them, as long as it has connections.
        """
        if not self._stopping.is_set():
            self._has_successor = has_successor
            self._stopping.set()

    def stop(self) -> None:
        """Start to drain; a second call shortens the drain."""
        if self._stopping.is_set():
            self._deadline.set()
        self._stopping.set()

    def _start(self) -> None:
        self._life = asyncio.ensure_future(self._live())

    async def _live(self) -> None:
        try:
            await self.on_start()
            await self._listen()
            self._handle_signals()
            self.on_listening([listener.address for listener in self._listeners])
            await self._serve()
        except NotListening as exc:
            logger.critical("cannot listen: %s", exc)
            self.exit_code = 1
        except FAILURES:
            logger.exception("server failed")
            self.exit_code = 1
        try:
            await within(limits.STOP_SECONDS, self.on_stop())
        except FAILURES:
            logger.exception("shutdown step failed")
        logger.info("stopped")
        reactor.stop()

    async def _serve(self) -> None:
        watching = asyncio.create_task(self.watchdog.watch(), name="watchdog")
        await self._stopping.wait()
        self.is_stopping = True
        logger.info("stopping, with %d connections", len(self.connections))
        if self._has_successor:
            await self._stop_listening(listener for listener in self._listeners if listener.is_shared)
        try:
            await self.on_drain(self._deadline)
        except FAILURES:
            logger.exception("drain failed")
        await self._stop_listening(self._listeners)
        await self._end_connections()
        await cancel_and_wait(watching)

    async def _listen(self) -> None:
        for endpoint in self.endpoints:
            self._listeners.append(await listen(str(endpoint), self.http_factory))

    async def _stop_listening(self, listeners: Iterable[Listener]) -> None:
        for listener in list(listeners):
            await listener.stop()
            self._listeners.remove(listener)

    def _handle_signals(self) -> None:
        if self.signal_handlers:
            for number in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _on_hangup)

    def _on_signal(self) -> None:
        if self._stopping.is_set():  # the third one ends the process, as without a handler
            for number in SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
        self.stop()

    async def _end_connections(self) -> None:
        """Close open connections and wait for their applications; cancel those that take too long."""
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketConnection) and protocol.state == protocol.STATE_OPEN:
                protocol.close(CloseCode.SERVER_RESTART)
        started_at = time.monotonic()
        while self.connections or any(connection.is_awaited for connection in self.http_factory.open_connections):
            patience_seconds = limits.HURRIED_CLOSE_SECONDS if self._deadline.is_set() else limits.CLOSE_SECONDS
            if time.monotonic() - started_at > patience_seconds:
                break
            await asyncio.sleep(LOOK_SECONDS)
        await self._cancel_applications()

    async def _cancel_applications(self) -> None:
        tasks = [details.get("application_instance") for details in self.connections.values()]
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        if running:  # for a limited time: an application may catch its cancellation
            await asyncio.wait(running, timeout=limits.HURRIED_CLOSE_SECONDS)


def _on_hangup() -> None:
    """Go on. Other daemons read their settings again at this signal, and a closed terminal sends it."""
    logger.warning("SIGHUP ignored: settings are read at the start. SIGTERM drains and ends the process")


def _end_without_threads(exit_code: int) -> None:
    """End the process in a while if it has not ended by itself: Python waits for threads, however long they hang."""

    def end() -> None:
        time.sleep(limits.THREADS_SECONDS)
        logger.warning("thread does not end, perhaps in the database: the process exits without it")
        os._exit(exit_code)

    threading.Thread(target=end, name="end", daemon=True).start()


def _log_failure(event: Any) -> None:
    """Log exceptions that Twisted caught. Its other messages, and autobahn's, are dropped: they quote clients."""
    failure = event.get("log_failure")
    if failure is not None:
        logger.error("network layer failed", exc_info=failure.value)
    elif str(event.get("log_format")).startswith("EMFILE encountered"):  # Twisted cuts new connections then, silently
        logger.error("connections cannot be accepted: %s", os.strerror(errno.EMFILE))
