"""One connection to a store: made, spoken to in pipelines, and given up at the first doubt.

Nothing here repeats a command: who sent it knows whether it may be repeated, and how the store will know it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import hiredis
from redis import exceptions
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# A reply that says the store cannot serve now, or is not the one to ask: connect anew, and repeat.
OUTAGES: Final = (
    exceptions.ConnectionError,  # among them LOADING and a refused login of a server that has just begun
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    OSError,
    TimeoutError,
)

Argument = str | bytes | int | float
Reply = Any  # what a script returns: bytes, numbers, None, lists of these; the caller knows which


def pack(*words: Argument) -> bytes:
    """Write a command as it goes over the line."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub knows commands of one word
    return packed


class RedisConnection:
    """A connection that is opened when it is first needed, and again after ``close``."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        options: dict[str, Any] = dict(parse_url(url))  # options of any type, for redis-py alone
        connection_class: type[AbstractConnection] = options.pop("connection_class", Connection)
        # Our own limit spans a whole exchange; redis-py's would cost a timer for each reply.
        options |= {
            "socket_timeout": None,
            "socket_connect_timeout": timeout_seconds,
            "health_check_interval": 0,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "agent-gateway",
        }
        self._timeout_seconds = timeout_seconds
        self._connection: AbstractConnection = connection_class(**options)

    @property
    def is_open(self) -> bool:
        """Was it opened, and not closed since?"""
        return bool(self._connection.is_connected)

    async def open(self) -> None:
        """Connect, if need be, within the time limit."""
        if not self._connection.is_connected:
            async with asyncio.timeout(self._timeout_seconds):
                await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it so

    async def exchange(self, commands: Sequence[bytes], replies: list[Reply]) -> None:
        """Send commands and collect a reply for each, errors of single ones among them.

        What was read before a failure stays in ``replies``; the connection is closed then.
        """
        try:
            await self.open()
            async with asyncio.timeout(self._timeout_seconds):
                await self._connection.send_packed_command(commands, check_health=False)
                while len(replies) < len(commands):
                    replies.append(await self._reply())
        except BaseException:
            await self.close()
            raise

    async def send(self, command: bytes) -> None:
        """Send one command whose reply comes by ``receive``."""
        async with asyncio.timeout(self._timeout_seconds):
            await self._connection.send_packed_command([command], check_health=False)

    async def receive(self) -> Reply:
        """Wait for the next reply or message."""
        return await self._connection.read_response()

    async def close(self) -> None:
        """Hang up without a word."""
        await self._connection.disconnect(nowait=True)

    async def _reply(self) -> Reply:
        try:
            return await self._connection.read_response()
        except exceptions.ResponseError as exc:
            if isinstance(exc, OUTAGES):
                raise
            return exc
