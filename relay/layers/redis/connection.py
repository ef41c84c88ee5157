"""One connection to a store: opened, used in pipelines, and closed at the first doubt.

Nothing here repeats a command: its sender knows whether it may be repeated, and how the store recognises it then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import hiredis
from redis import exceptions
from redis.asyncio.connection import SSLConnection

from relay.addresses.store import new_connection, parse_sentinel_url
from relay.layers.redis.failures import NoTls
from relay.layers.redis.redis_py import transport_of
from relay.layers.redis.sentinel import Sentinels
from relay.layers.redis.wire import Answered, Reply, Wire

# A reply that says the store cannot serve now, or is not the one to ask: connect again, and repeat.
_OUTAGES: Final = (
    exceptions.ConnectionError,  # among them LOADING and a refused login of a server that has just started
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
)

_UNABLE_CODES: Final = ("MISCONF", "NOREPLICAS", "BUSY")  # no disk, no replicas, an endless script

PLAIN_ANSWER_SECONDS: Final = 0.5

Argument = str | bytes | int | float


def is_unable(reply: Reply) -> bool:
    """Does the store say that it cannot do this now, as opposed to never? The connection is as good as before."""
    if isinstance(reply, exceptions.OutOfMemoryError):
        return True
    return isinstance(reply, exceptions.ResponseError) and str(reply).partition(" ")[0] in _UNABLE_CODES


def pack(*words: Argument) -> bytes:
    """Encode a command."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub knows commands of one word
    return packed


class RedisConnection:
    """A connection that is opened when it is first needed, and again after ``close``."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        sentinel_url = parse_sentinel_url(url)
        self._sentinels = Sentinels(sentinel_url) if sentinel_url is not None else None
        self._timeout_seconds = timeout_seconds
        self._connection = new_connection(url, timeout_seconds=timeout_seconds)
        self._wire: Wire | None = None

    @property
    def is_open(self) -> bool:
        """Was it opened, and not closed since?"""
        return self._wire is not None

    async def open(self) -> None:
        """Connect, if need be, within the time limit."""
        if self._wire is None:
            await self._connection.disconnect(nowait=True)  # the last one, if it has failed
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._connect()
            except (TimeoutError, exceptions.TimeoutError) as exc:
                if isinstance(self._connection, SSLConnection) and await _answers_without_tls(
                    self._connection.host, self._connection.port
                ):
                    raise NoTls from exc
                raise
            self._wire = Wire(transport_of(self._connection))

    async def _connect(self) -> None:
        if self._sentinels is not None:
            address = await self._sentinels.primary()
            self._connection.host, self._connection.port = address  # type: ignore[attr-defined]  # no socket file
        await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it so
        if self._sentinels is not None:
            await self._refuse_replica()

    async def _refuse_replica(self) -> None:
        """Ask the server itself for its role: a sentinel may be behind (Redis' documentation of Sentinel clients)."""
        await self._connection.send_packed_command([pack("ROLE")], check_health=False)
        role = await self._connection.read_response()
        if role[0] != b"master":
            raise exceptions.ConnectionError("the server is no primary any more")

    def ask(self, commands: Sequence[bytes], answered: Answered) -> None:
        """Send commands over the open connection; ``answered`` gets a reply for each, errors of single ones among them.

        It is called once: by the call that reads the last reply from the socket, or with a failure and the replies that
        came before it; the connection is closed then.
        """
        assert self._wire is not None  # noqa: S101 - the caller has looked

        def take(replies: list[Reply], failure: Exception | None) -> None:
            outage = _outage(replies)
            if outage is not None:
                failure = outage
            if failure is not None:
                self._drop()
            answered(replies, failure)

        self._wire.ask(b"".join(commands), len(commands), take, self._timeout_seconds)

    async def exchange(self, commands: Sequence[bytes], replies: list[Reply]) -> None:
        """Send commands and collect a reply for each, errors of single ones among them.

        Replies that were read before a failure are put into ``replies``; the connection is closed then.

        Raises:
            RedisError, OSError: there is no connection, it broke, or the store cannot serve.
        """
        try:
            await self.open()
            answer: asyncio.Future[tuple[list[Reply], Exception | None]] = asyncio.get_running_loop().create_future()
            self.ask(commands, lambda *given: None if answer.done() else answer.set_result(given))  # or was cancelled
            some, failure = await answer
        except BaseException:
            await self.close()
            raise
        replies += some
        if failure is not None:
            raise failure

    async def send(self, command: bytes) -> None:
        """Send one command whose reply goes to ``hand_to``."""
        (await self._opened()).write(command)

    async def hand_to(self, on_reply: Callable[[Reply], None]) -> None:
        """Hand over each reply or message as it arrives, until the connection breaks: then raise why."""
        await (await self._opened()).hand_to(on_reply)

    async def close(self) -> None:
        """Close the connection at once; no more replies are handed out."""
        self._drop()
        await self._connection.disconnect(nowait=True)

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.forget()
            self._wire = None

    async def _opened(self) -> Wire:
        await self.open()
        assert self._wire is not None  # noqa: S101 - an invariant of `open`
        return self._wire


async def _answers_without_tls(host: str, port: int) -> bool:
    """Ask a server without TLS after a TLS handshake without an answer: a plain server waits for a command's end."""
    try:
        async with asyncio.timeout(PLAIN_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(1) in (b"+", b"-")
            finally:
                writer.transport.abort()
    except OSError:
        return False


def _outage(replies: list[Reply]) -> Exception | None:
    """Return the first reply that says that the store cannot serve, and drop it and all that follow."""
    for place, reply in enumerate(replies):
        if isinstance(reply, _OUTAGES):
            del replies[place:]
            return reply
    return None
