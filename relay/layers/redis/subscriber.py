"""The one subscriber connection of a process to a node: on the orders' channel and those of watched sessions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from itertools import groupby
from typing import Final, NoReturn, Protocol

from redis.exceptions import MovedError, RedisError, ResponseError

from relay.layers.redis.buckets import tag_of
from relay.layers.redis.connection import RedisConnection, is_unable, pack
from relay.layers.redis.failures import reason
from relay.layers.redis.wire import Reply
from relay.observability import metrics
from relay.observability.outage_log import OutageLog
from relay.tasks import BackgroundTask, Backoff, first_completed

logger = logging.getLogger(__name__)

_PING: Final = pack("PING")
_UNWANTED: Final = object()
_UNSUBSCRIBE: Final = pack("SUNSUBSCRIBE", "!")  # from no channel: a user without this right is refused at once
SILENT_TICKS: Final = 3  # a PING is sent at the end of each; after so many without an answer the connection is dead
RECONNECT_SECONDS: Final = (0.02, 1.0)  # the first and the longest pause


class Routes(Protocol):
    """The ways from one node of a cluster to the others."""

    def learn(self, reply: MovedError) -> None:
        """Note which node serves a slot, as the node says that has refused a subscription."""

    def doubt(self) -> None:
        """Have another node asked who serves what: this one does not answer."""


class Subscriber:
    """Keeps a connection and its subscriptions through every outage. In a cluster they follow their slot.

    Args:
        on_message: receives a channel and an announcement on it.
        on_connection: receives channels, and True when they are subscribed again and announcements may have been
            missed, False when the node was out of reach, or has refused subscriptions, for ``patience_seconds``.
        routes: to the other nodes; ``None`` for a store that is no cluster.

    Attributes:
        sender: the node's id, with which its announcements start in a cluster; empty: not known yet.
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
        on_connection: Callable[[Collection[str], bool], None],
        routes: Routes | None = None,
    ) -> None:
        self._outages = outages
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._on_message = on_message
        self._on_connection = on_connection
        self._routes = routes
        self._connection = RedisConnection(url, timeout_seconds=timeout_seconds)
        self._channels: dict[str, asyncio.Future[None] | None] = {}  # None: the node has confirmed it
        self._interrupted: set[str] = set()  # channels that another node had, or that this one has given up
        self._outbox: list[tuple[str, str]] = []
        self.sender = b""
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
            self._subscribe(channel, asyncio.get_running_loop().create_future())

    def remove(self, channel: str) -> None:
        """Unsubscribe; a task that waits for the channel is not woken."""
        if channel in self._channels:
            del self._channels[channel]
            self._interrupted.discard(channel)
            self._tell("SUNSUBSCRIBE", channel)

    def take_over(self, other: Subscriber, tag: str) -> None:
        """Subscribe to the channels of a tag that another node served; tasks that wait for them are woken from here."""
        loop = asyncio.get_running_loop()
        for channel in [channel for channel in other._channels if tag_of(channel) == tag]:
            confirmed = other._channels[channel]
            other.remove(channel)
            self._interrupted.add(channel)
            self._subscribe(channel, confirmed or loop.create_future())

    def ask_again(self, tag: str) -> None:
        """Subscribe again to the channels of a tag that the node has not confirmed: it may have sent them to others."""
        for channel, confirmed in self._channels.items():
            if confirmed is not None and tag_of(channel) == tag:
                self._tell("SSUBSCRIBE", channel)

    async def confirmed(self, channel: str) -> None:
        """Wait until the channel, which was added, is subscribed, here or at the node that takes it over."""
        confirmed = self._channels[channel]
        if confirmed is not None:
            await asyncio.shield(confirmed)  # others wait for it too

    def _subscribe(self, channel: str, confirmation: asyncio.Future[None]) -> None:
        self._channels[channel] = confirmation
        self._tell("SSUBSCRIBE", channel)
        if not self._listening.is_running:
            self._listening.start(self._listen(), "subscriber")

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
                self._on_connection(
                    list(self._channels), False
                )  # one that broke is not enough: it may come back at once
                if self.failure is not None:
                    self._outages.failed("announcements do not arrive: %s", reason(self.failure))
            if self._routes is not None:
                self._routes.doubt()
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
            if channel in self._interrupted:
                self._interrupted.remove(channel)
                self._on_connection([channel], True)  # first: a task that starts to wait now has missed nothing
            self._channels[channel] = None
            confirmed.set_result(None)

    def _interrupt(self, channel: str) -> None:
        """Subscribe again where the node has ended it: it has given the slot away, and says then to which node."""
        if self._channels.get(channel, _UNWANTED) is None:
            self._interrupted.add(channel)
            self._subscribe(channel, asyncio.get_running_loop().create_future())

    def _subscribe_again(self) -> None:
        self._early = []
        self._outbox = [("SSUBSCRIBE", channel) for channel in self._channels]
        self._has_news.set()

    async def _follow(self) -> None:
        """Talk and listen until the connection breaks, or the store is silent for too long."""
        await first_completed(self._hear(), self._talk())

    async def _talk(self) -> None:
        """Send subscriptions as they arrive, and a ping now and then; return when the store does not answer.

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
        for verb in ("SSUBSCRIBE", "SUNSUBSCRIBE"):
            wanted = verb == "SSUBSCRIBE"
            names = {channel for _, channel in outbox if (channel in self._channels) is wanted}
            for _, alike in groupby(sorted(names), tag_of):  # one command must not name two slots
                commands.append(pack(verb, *alike))
        return commands

    async def _hear(self) -> None:
        await self._connection.hand_to(self._take)

    def _take(self, message: Reply) -> None:
        if isinstance(message, MovedError) and self._routes is not None:
            self._routes.learn(message)
            return
        if isinstance(message, Exception) and not is_unable(message):  # a store without its disk refuses even PING
            raise message
        self._heard_at = time.monotonic()
        if self._is_caught_up:
            self._was_well_at = self._heard_at
        kind = message[0] if isinstance(message, list) else b"pong"
        if kind == b"smessage":
            self._hand_on(message[1].decode(), message[2])
        elif kind == b"ssubscribe":
            channel = message[1].decode()
            if self._is_caught_up:
                self._confirm(channel)
            else:
                self._early.append(channel)
        elif kind == b"sunsubscribe":
            self._interrupt(message[1].decode())
        elif kind == b"pong" and not self._is_caught_up:
            self._catch_up()  # it was sent behind the subscriptions

    def _hand_on(self, channel: str, data: bytes) -> None:
        """Hand on an announcement of the node itself.

        Nodes pass on what others of their shard publish. A former primary that was frozen does what was sent to it
        before it learns that it was replaced: its announcements are about a log that the new one does not have.
        """
        if channel not in self._channels:
            return
        if self._routes is not None:
            sender, _, data = data.partition(b"\n")
            if self.sender and sender != self.sender:
                logger.debug("announcement of another node ignored")
                return
        self._on_message(channel, data)

    def _catch_up(self) -> None:
        self._is_caught_up = True
        self.failure = None
        self._interrupted.difference_update(self._early)
        self._on_connection(self._early, True)  # first: a task that starts to wait now has missed nothing
        for channel in self._early:
            self._confirm(channel)
