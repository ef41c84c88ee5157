"""Group commit: one exchange is in flight; calls that arrive meanwhile go out together in the next.

So a busy process pays for one round trip for all its sessions, and a single call waits for no others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import Final, Protocol

from redis.exceptions import NoScriptError, RedisError

from relay.exceptions import StoreUnavailable
from relay.layers.redis.connection import Argument, RedisConnection, is_unable, pack
from relay.layers.redis.failures import reason
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.wire import Reply
from relay.observability import metrics
from relay.observability.histogram import Buckets
from relay.observability.outage_log import OutageLog
from relay.tasks import Backoff, cancel_and_wait

MAX_EXCHANGE_CALLS: Final = 512
MAX_WAITING_CALLS: Final = 20_000  # more than a process can have in flight unless its store is gone
RETRY_SECONDS: Final = (0.02, 0.5)  # the first and the longest pause before an exchange is repeated


class ReplyHandler(Protocol):
    """Receives a call's reply or failure: an ``asyncio.Future``, or an object that handles it synchronously."""

    def done(self) -> bool:
        """Has it received one, or was it cancelled?"""

    def set_result(self, reply: Reply, /) -> None:
        """Take the reply. Must not raise, nor wait."""

    def set_exception(self, failure: Exception, /) -> None:
        """Take the failure. Must not raise, nor wait."""


class _Call:
    __slots__ = ("asked_at", "command", "duration", "handler", "name")

    def __init__(self, command: bytes, name: str, duration: Buckets, handler: ReplyHandler) -> None:
        self.command = command
        self.name = name
        self.duration = duration
        self.handler = handler
        self.asked_at = time.monotonic()


class GroupCommit:
    """Calls of scripts over one connection, repeated through an outage for ``patience_seconds``.

    A repeated call was perhaps done before: every script recognises its own repetition, or may be done twice. Scripts
    refuse by values; an error reply means that the store cannot do, or the user may not do, what was asked.

    Attributes:
        failure: why the last exchange failed; ``None`` if it did not.
    """

    def __init__(
        self, url: str, scripts: Scripts, outages: OutageLog, *, timeout_seconds: float, patience_seconds: float
    ) -> None:
        self._scripts = scripts
        self._outages = outages
        self._patience_seconds = patience_seconds
        self.failure: BaseException | None = None
        self._connection = RedisConnection(url, timeout_seconds=timeout_seconds)
        self._waiting: deque[_Call] = deque()
        self._working: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def call(self, name: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> asyncio.Future[Reply]:
        """Call a script; cancelling the future gives up waiting, the call may be done all the same.

        Raises:
            StoreUnavailable: (when awaited) the store did not answer within ``patience_seconds``, or refused it.
        """
        result: asyncio.Future[Reply] = self._loop.create_future()
        self.submit(result, name, keys, arguments)
        return result

    def submit(self, handler: ReplyHandler, name: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> None:
        """Call a script; ``handler`` receives the reply.

        Raises:
            StoreUnavailable: too many calls wait already.
        """
        sha = self._scripts[name].sha
        self._send(handler, name, pack("EVALSHA", sha, len(keys), *keys, *arguments))

    def load(self, name: str) -> asyncio.Future[Reply]:
        """Load a script, whether the store knows it or not.

        Raises:
            StoreUnavailable: as ``call``.
        """
        result: asyncio.Future[Reply] = self._loop.create_future()
        self._send(result, "load", pack("SCRIPT", "LOAD", self._scripts[name].text))
        return result

    def _send(self, handler: ReplyHandler, name: str, command: bytes) -> None:
        if len(self._waiting) >= MAX_WAITING_CALLS:
            raise StoreUnavailable
        self._waiting.append(_Call(command, name, metrics.STORE_CALLS.labels(name), handler))
        if self._working is None:
            self._working = self._loop.create_task(self._work(), name="group commit")

    async def close(self) -> None:
        """Close the connection; calls that wait are refused."""
        if self._working is not None:
            await cancel_and_wait(self._working)
        self._refuse(list(self._waiting))
        self._waiting.clear()
        await self._connection.close()

    async def _work(self) -> None:
        backoff = Backoff(*RETRY_SECONDS)
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                failure = self.failure = await self._exchange(batch)
                if failure is None:
                    backoff.reset()
                    continue
                self._put_back(batch, failure)
                batch = []
                await backoff.pause()
        finally:  # no await since the last look at _waiting, so no call is forgotten
            self._working = None
            self._refuse([*batch, *self._waiting])
            self._waiting.clear()

    def _next_batch(self) -> list[_Call]:
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_EXCHANGE_CALLS))]
        return [call for call in batch if not call.handler.done()]

    async def _exchange(self, batch: list[_Call]) -> BaseException | None:
        """Send a batch once and hand out the replies. Returns the failure, if one kept calls without a reply."""
        replies: list[Reply] = []
        failure: BaseException | None = None
        try:
            await self._connection.exchange([call.command for call in batch], replies)
        except (RedisError, OSError) as exc:
            failure = exc
        unknown: set[str] = set()
        now = time.monotonic()
        for call, reply in zip(batch, replies, strict=False):
            if isinstance(reply, NoScriptError):
                unknown.add(call.name)
            elif is_unable(reply):
                failure = reply
            elif isinstance(reply, Exception):
                self._refuse([call], reply, "refused")
                self._outages.failed(
                    "store call refused: %s", reason(reply), level=logging.ERROR, call=call.name, reply=str(reply)
                )
            elif not call.handler.done():
                call.duration.observe(now - call.asked_at)
                call.handler.set_result(reply)
        if failure is None and unknown:
            failure = await self._load(unknown)
            self._waiting.extendleft(call for call in reversed(batch) if failure is None and not call.handler.done())
        return failure

    async def _load(self, names: set[str]) -> BaseException | None:
        texts = [self._scripts[name].text for name in sorted(names)]
        replies: list[Reply] = []
        try:
            await self._connection.exchange([pack("SCRIPT", "LOAD", text) for text in texts], replies)
        except (RedisError, OSError) as exc:
            return exc
        return next((reply for reply in replies if isinstance(reply, RedisError)), None)

    def _put_back(self, batch: list[_Call], failure: BaseException) -> None:
        too_old = time.monotonic() - self._patience_seconds
        repeated = [call for call in batch if not call.handler.done()]
        left = [*repeated, *self._waiting]
        late = [call for call in left if call.asked_at <= too_old]
        self._refuse(late, failure)
        self._waiting = deque(call for call in left if call.asked_at > too_old)
        metrics.STORE_REPEATS.inc(len(repeated))
        if late:
            self._outages.failed("store calls given up: %s", reason(failure))

    @staticmethod
    def _refuse(calls: list[_Call], cause: BaseException | None = None, kind: str = "unavailable") -> None:
        for call in calls:
            if not call.handler.done():
                metrics.STORE_ERRORS.labels(kind).inc()
                error = StoreUnavailable("" if cause is None else reason(cause))
                error.__cause__ = cause
                call.handler.set_exception(error)
