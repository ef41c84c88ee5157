"""One subscriber connection a process and store, on the channels of the sessions that are watched here."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Final

from redis.exceptions import RedisError

from relay.layers.redis_connection import OUTAGES, RedisConnection, Reply, pack

logger = logging.getLogger(__name__)

_PING: Final = pack("PING")
RECONNECT_SECONDS: Final = (0.02, 1.0)  # the first and the longest pause


class Subscriber:
    """Keeps a connection and its subscriptions through every outage.

    Args:
        on_message: gets a channel and what was announced on it.
        on_line: gets True when all channels are subscribed again and announcements may have been missed, False when
            the store has been out of reach for ``patience_seconds``.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        patience_seconds: float,
        on_message: Callable[[str, bytes], None],
        on_line: Callable[[bool], None],
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._on_message = on_message
        self._on_line = on_line
        self._connection = RedisConnection(url, timeout_seconds=timeout_seconds)
        self._channels: dict[str, asyncio.Event] = {}  # set: the store has confirmed it
        self._outbox: list[tuple[str, str]] = []
        self._heard_at = 0.0
        self._is_caught_up = False
        self._listening: asyncio.Task[None] | None = None
        self._talking: asyncio.Task[None] | None = None
        self._has_news = asyncio.Event()

    def add(self, channel: str) -> asyncio.Event:
        """Subscribe. Returns what is set when the store has confirmed it."""
        confirmed = self._channels.get(channel)
        if confirmed is None:
            confirmed = self._channels[channel] = asyncio.Event()
            self._tell("SUBSCRIBE", channel)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name="subscriber")
        return confirmed

    def remove(self, channel: str) -> None:
        """Unsubscribe."""
        if self._channels.pop(channel, None) is not None:
            self._tell("UNSUBSCRIBE", channel)

    async def close(self) -> None:
        """Hang up."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._connection.close()

    def _tell(self, verb: str, channel: str) -> None:
        self._outbox.append((verb, channel))
        self._has_news.set()

    async def _listen(self) -> None:
        pause_seconds, lost_at = RECONNECT_SECONDS[0], time.monotonic()
        while True:
            try:
                await self._connection.open()
                self._subscribe_again()
                lost_at, pause_seconds = await self._follow(), RECONNECT_SECONDS[0]
            except (RedisError, *OUTAGES) as exc:
                logger.debug("no subscriber connection: %s", type(exc).__name__)
            await self._connection.close()
            for confirmed in self._channels.values():
                confirmed.clear()
            if time.monotonic() - lost_at > self._patience_seconds:
                self._on_line(False)
            await asyncio.sleep(pause_seconds * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause_seconds = min(2 * pause_seconds, RECONNECT_SECONDS[1])

    def _subscribe_again(self) -> None:
        self._is_caught_up = False
        self._outbox = [("SUBSCRIBE", channel) for channel in self._channels]
        self._has_news.set()

    async def _follow(self) -> float:
        """Talk and listen until the line breaks. Returns when the store was last heard."""
        self._heard_at = time.monotonic()
        talking = asyncio.create_task(self._talk())
        hearing = asyncio.create_task(self._hear())
        try:
            await asyncio.wait([talking, hearing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            talking.cancel()
            hearing.cancel()
            await asyncio.gather(talking, hearing, return_exceptions=True)
        return self._heard_at

    async def _talk(self) -> None:
        """Send subscriptions as they come, and a ping now and then; return when nothing is heard any more."""
        while True:
            try:
                async with asyncio.timeout(self._timeout_seconds / 2):
                    await self._has_news.wait()
            except TimeoutError:
                if time.monotonic() - self._heard_at > self._timeout_seconds:
                    return
                await self._connection.send(_PING)
                continue
            self._has_news.clear()
            outbox, self._outbox = self._outbox, []
            for verb in ("SUBSCRIBE", "UNSUBSCRIBE"):
                wanted = verb == "SUBSCRIBE"
                names = {channel for _, channel in outbox if (channel in self._channels) is wanted}
                if names:
                    await self._connection.send(pack(verb, *names))
            if not self._is_caught_up:
                await self._connection.send(_PING)

    async def _hear(self) -> None:
        while True:
            self._take(await self._connection.receive())

    def _take(self, message: Reply) -> None:
        self._heard_at = time.monotonic()
        kind = message[0] if isinstance(message, list) else b"pong"
        if kind == b"message":
            self._on_message(message[1].decode(), message[2])
        elif kind == b"subscribe":
            confirmed = self._channels.get(message[1].decode())
            if confirmed is not None:
                confirmed.set()
        elif kind == b"pong" and not self._is_caught_up:
            self._is_caught_up = True  # it was sent behind the subscriptions
            self._on_line(True)
