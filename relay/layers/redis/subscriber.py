"""The one subscriber connection of a process to a store: on the orders' channel and those of watched sessions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from redis.exceptions import RedisError, ResponseError

from relay.layers.redis.connection import RedisConnection, is_unable, pack
from relay.layers.redis.failures import reason
from relay.layers.redis.wire import Reply
from relay.observability import metrics
from relay.observability.outage_log import OutageLog
from relay.tasks import BackgroundTask, Backoff, first_completed

logger = logging.getLogger(__name__)

_PING: Final = pack("PING")
_UNSUBSCRIBE: Final = pack("UNSUBSCRIBE", "!")  # from no channel: a user without this right is refused at once
SILENT_TICKS: Final = 3  # a PING is sent at the end of each; after so many without an answer the connection is dead
RECONNECT_SECONDS: Final = (0.02, 1.0)  # the first and the longest pause


class Subscriber:
    """Keeps a connection and its subscriptions through every outage.

    Args:
        on_message: receives a channel and an announcement on it.
        on_connection: receives True when all channels are subscribed again and announcements may have been missed,
            False when the store was out of reach, or has refused subscriptions, for ``patience_seconds``.

    Attributes:
        failure: why the connection broke last, or was refused; ``None`` once all channels are subscribed again.
    """

    def __init__(
        self,
        url: str,
        outages: OutageLog,
        *,
        timeout_seconds: float,
        patience_seconds: float,
        on_message: Callable[[str, bytes], None],
        on_connection: Callable[[bool], None],
    ) -> None:
        self._outages = outages
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._on_message = on_message
        self._on_connection = on_connection
        self._connection = RedisConnection(url, timeout_seconds=timeout_seconds)
        self._channels: dict[str, asyncio.Future[None] | None] = {}  # None: the store has confirmed it
        self._outbox: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self._heard_at = 0.0
        self._was_well_at = 0.0  # the last reply or message with all channels subscribed
        self._is_caught_up = False
        self._early: list[str] = []  # channels that were confirmed before all were
        self._listening = BackgroundTask()
        self._has_news = asyncio.Event()

    def add(self, channel: str) -> None:
        """Subscribe."""
        if channel not in self._channels:
            self._channels[channel] = asyncio.get_running_loop().create_future()
            self._tell("SUBSCRIBE", channel)
        if not self._listening.is_running:
            self._listening.start(self._listen(), "subscriber")

    def remove(self, channel: str) -> None:
        """Unsubscribe; a task that waits in ``confirmed`` for the channel is not woken."""
        if channel in self._channels:
            del self._channels[channel]
            self._tell("UNSUBSCRIBE", channel)

    async def confirmed(self, channel: str) -> None:
        """Wait until the store has confirmed a channel that was added."""
        confirmed = self._channels[channel]
        if confirmed is not None:
            await asyncio.shield(confirmed)  # others wait for it too

    async def close(self) -> None:
        """Stop listening and close the connection."""
        await self._listening.stop()
        await self._connection.close()

    def _tell(self, verb: str, channel: str) -> None:
        self._outbox.append((verb, channel))
        self._has_news.set()

    async def _listen(self) -> None:
        self._was_well_at = time.monotonic()
        backoff = Backoff(*RECONNECT_SECONDS)
        while True:
            self._is_caught_up = False
            try:
                await self._connection.open()
                self._heard_at = time.monotonic()
                self._subscribe_again()
                await self._follow()
            except (RedisError, OSError) as exc:
                self.failure = exc
                logger.debug("subscriber connection failed: %s", type(exc).__name__)
            except Exception:
                logger.exception("announcement failed; every watched session is read again")
            metrics.PUBSUB_LOST.inc()
            if self._is_refused() and time.monotonic() - self._was_well_at > self._patience_seconds:
                self._on_connection(False)  # a connection that broke is not enough: it may come back at once
                if self.failure is not None:
                    self._outages.failed("announcements do not arrive: %s", reason(self.failure))
            await self._connection.close()
            self._unconfirm_all()
            if self._is_caught_up:
                backoff.reset()
            await backoff.pause()

    def _is_refused(self) -> bool:
        """Was no connection made, or nothing allowed on it?"""
        return not self._connection.is_open or isinstance(self.failure, ResponseError)

    def _unconfirm_all(self) -> None:
        loop = asyncio.get_running_loop()
        self._channels = {channel: known or loop.create_future() for channel, known in self._channels.items()}

    def _confirm(self, channel: str) -> None:
        confirmed = self._channels.get(channel)
        if confirmed is not None:
            self._channels[channel] = None
            confirmed.set_result(None)

    def _subscribe_again(self) -> None:
        self._early = []
        self._outbox = [("SUBSCRIBE", channel) for channel in self._channels]
        self._has_news.set()

    async def _follow(self) -> None:
        """Talk and listen until the connection breaks, or the store is silent for too long."""
        await first_completed(self._hear(), self._talk())

    async def _talk(self) -> None:
        """Send subscriptions as they come, and a ping now and then; return when the store does not answer.

        Counted in ticks, not by the clock: when the whole process stood still, that is one tick, and before the next
        is over, the messages that waited at the socket have been read.
        """
        silent_ticks = 0
        while silent_ticks < SILENT_TICKS:
            started_at = time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout_seconds / SILENT_TICKS):
                    await self._send_news()
            silent_ticks = 0 if self._heard_at >= started_at else silent_ticks + 1
            await self._connection.send(_PING)

    async def _send_news(self) -> NoReturn:
        while True:
            await self._has_news.wait()
            commands = self._news()
            if not self._is_caught_up:
                commands += [_UNSUBSCRIBE, _PING]
            for command in commands:
                await self._connection.send(command)  # waits for nothing: the connection is open

    def _news(self) -> list[bytes]:
        """Encode the subscriptions that changed since the last call, as they are now."""
        self._has_news.clear()
        outbox, self._outbox = self._outbox, []
        commands = []
        for verb in ("SUBSCRIBE", "UNSUBSCRIBE"):
            wanted = verb == "SUBSCRIBE"
            names = {channel for _, channel in outbox if (channel in self._channels) is wanted}
            if names:
                commands.append(pack(verb, *names))
        return commands

    async def _hear(self) -> None:
        await self._connection.hand_to(self._take)

    def _take(self, message: Reply) -> None:
        if isinstance(message, Exception) and not is_unable(message):  # a store without its disk refuses even PING
            raise message
        self._heard_at = time.monotonic()
        if self._is_caught_up:
            self._was_well_at = self._heard_at
        kind = message[0] if isinstance(message, list) else b"pong"
        if kind == b"message":
            self._on_message(message[1].decode(), message[2])
        elif kind == b"subscribe":
            channel = message[1].decode()
            if self._is_caught_up:
                self._confirm(channel)
            else:
                self._early.append(channel)
        elif kind == b"pong" and not self._is_caught_up:
            self._is_caught_up = True  # it was sent behind the subscriptions
            self.failure = None
            self._on_connection(True)  # first: a task that starts to wait now has missed nothing
            for channel in self._early:
                self._confirm(channel)
