"""An open connection to a store: each reply is handed out in the call that reads it from the socket.

redis-py opens the connection; ``redis_py`` says why it does not read from it as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis import exceptions

from relay.layers.redis.redis_py import error_of

Reply = Any  # a script's result: bytes, a number, None, or a list of these; the caller knows which

_INCOMPLETE: Final = object()


class Wire(asyncio.Protocol):
    """Takes over a transport on which nothing is in flight.

    Attributes:
        failure: why no more replies will come; ``None`` while the connection is open.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.failure: Exception | None = None
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parser = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=error_of, notEnoughData=_INCOMPLETE
        )
        self._replies: list[Reply] = []
        self._awaited = 0
        self._waiter: asyncio.Future[None] | None = None
        self._on_reply: Callable[[Reply], None] | None = None
        transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        """Send.

        Raises:
            redis.exceptions.ConnectionError: the connection broke, perhaps while no reply was awaited.
        """
        if self.failure is None and self._transport.is_closing():
            self.failure = _closed()
        if self.failure is not None:
            raise self.failure
        self._transport.write(data)

    async def collect(self, count: int, replies: list[Reply], timeout_seconds: float) -> None:
        """Wait for so many replies, errors of single ones among them.

        Replies that came before a failure are put into ``replies`` nevertheless.

        Raises:
            TimeoutError: they did not come in time.
            redis.exceptions.ConnectionError: the connection broke.
        """
        timer = self._loop.call_later(timeout_seconds, self.fail, TimeoutError())
        try:
            await self._wait(count)
        finally:
            timer.cancel()
            replies += self._replies[:count]
            del self._replies[:count]

    async def hand_to(self, on_reply: Callable[[Reply], None]) -> None:
        """Hand over each reply as it arrives, until the connection breaks: then raise why.

        Raises:
            redis.exceptions.ConnectionError: the connection broke. Or what ``on_reply`` raised.
        """
        for reply in self._replies:
            on_reply(reply)
        self._replies.clear()
        self._on_reply = on_reply
        await self._wait(1)

    def fail(self, failure: Exception) -> None:
        """Give the connection up."""
        self.failure = self.failure or failure
        self._transport.abort()
        self._wake()

    async def _wait(self, count: int) -> None:
        self._awaited = count
        while len(self._replies) < count:
            if self.failure is not None:
                raise self.failure
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _INCOMPLETE:
                if self._on_reply is not None:
                    self._on_reply(reply)
                else:
                    self._replies.append(reply)
        except Exception as exc:
            self.fail(exc)
            return
        if len(self._replies) >= self._awaited:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.fail(_closed())


def _closed() -> exceptions.ConnectionError:
    return exceptions.ConnectionError("the store has closed the connection")
