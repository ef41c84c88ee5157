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
Answered = Callable[[list[Reply], Exception | None], None]  # gets the replies, and why there are too few

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
        self._answered: Answered | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
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

    def ask(self, data: bytes, count: int, answered: Answered, timeout_seconds: float) -> None:
        """Send commands; ``answered`` is called by the call that reads the last of so many replies.

        Or by the one that finds that no more will come: after the time limit, or because the connection broke. It gets
        the replies that came, errors of single commands among them, and the failure, if there was one.
        """
        self._awaited, self._answered = count, answered
        self._deadline = self._loop.time() + timeout_seconds
        if self._timer is None:
            self._timer = self._loop.call_later(timeout_seconds, self._look_at_the_time)
        try:
            self.write(data)
        except exceptions.ConnectionError as exc:
            self.fail(exc)
        else:
            self._tell()

    async def hand_to(self, on_reply: Callable[[Reply], None]) -> None:
        """Hand over each reply as it arrives, until the connection breaks: then raise why.

        Raises:
            redis.exceptions.ConnectionError: the connection broke. Or what ``on_reply`` raised.
        """
        for reply in self._replies:
            on_reply(reply)
        self._replies.clear()
        self._on_reply = on_reply
        if self._timer is not None:
            self._timer.cancel()
        broken: asyncio.Future[None] = self._loop.create_future()

        def end(_: list[Reply], failure: Exception | None) -> None:
            if failure is not None and not broken.done():
                broken.set_exception(failure)

        self._awaited, self._answered = 1, end  # all are handed over, so it is only called when the connection breaks
        self._tell()
        await broken

    def fail(self, failure: Exception) -> None:
        """Give the connection up."""
        self.failure = self.failure or failure
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._tell()

    def forget(self) -> None:
        """Give the connection up, and do not call ``answered``."""
        self._answered = None
        self.fail(_closed())

    def _tell(self) -> None:
        """Call ``answered`` if it is time."""
        if self._answered is not None and (len(self._replies) >= self._awaited or self.failure is not None):
            answered, self._answered = self._answered, None
            replies = self._replies[: self._awaited]
            del self._replies[: self._awaited]
            answered(replies, self.failure if len(replies) < self._awaited else None)

    def _look_at_the_time(self) -> None:
        """Fail if the replies are late. One timer serves many exchanges: to have one each would cost them time."""
        self._timer = None
        if self._answered is None:
            return
        left = self._deadline - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look_at_the_time)
        else:
            self.fail(TimeoutError())

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
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.fail(_closed())


def _closed() -> exceptions.ConnectionError:
    return exceptions.ConnectionError("the store has closed the connection")
