"""Group commit: one exchange in flight, and everything that arrives meanwhile rides in the next.

So a busy process pays for a round trip once for all its sessions, and a lonely call waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from typing import Final

from redis.exceptions import NoScriptError

from relay.exceptions import StoreUnavailable
from relay.layers.redis_connection import OUTAGES, Argument, RedisConnection, Reply, pack
from relay.layers.redis_scripts import Scripts

logger = logging.getLogger(__name__)

MAX_EXCHANGE_CALLS: Final = 512
MAX_WAITING_CALLS: Final = 20_000  # more than a process can have in flight unless its store is gone
RETRY_SECONDS: Final = (0.02, 0.5)  # the first and the longest pause before an exchange is repeated


class _Call:
    __slots__ = ("command", "give_up_at", "result", "sha")

    def __init__(self, command: bytes, sha: str, give_up_at: float, result: asyncio.Future[Reply]) -> None:
        self.command = command
        self.sha = sha
        self.give_up_at = give_up_at
        self.result = result


class GroupCommit:
    """Calls of scripts over one connection, repeated through an outage for ``patience_seconds``.

    A call that is repeated was perhaps done before: every script knows its own repetition.
    """

    def __init__(self, url: str, scripts: Scripts, *, timeout_seconds: float, patience_seconds: float) -> None:
        self._scripts = scripts
        self._patience_seconds = patience_seconds
        self._connection = RedisConnection(url, timeout_seconds=timeout_seconds)
        self._waiting: deque[_Call] = deque()
        self._working: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def call(self, name: str, keys: tuple[str, ...], arguments: tuple[Argument, ...]) -> asyncio.Future[Reply]:
        """Call a script; cancelling the future gives up waiting, the call may be done all the same.

        Raises:
            StoreUnavailable: (when awaited) the store did not answer within ``patience_seconds``.
        """
        if len(self._waiting) >= MAX_WAITING_CALLS:
            raise StoreUnavailable
        sha = self._scripts[name].sha
        command = pack("EVALSHA", sha, len(keys), *keys, *arguments)
        return self._send(command, sha)

    async def close(self) -> None:
        """Hang up; calls that wait are refused."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        self._refuse(list(self._waiting))
        self._waiting.clear()
        await self._connection.close()

    def _send(self, command: bytes, sha: str) -> asyncio.Future[Reply]:
        result: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(_Call(command, sha, time.monotonic() + self._patience_seconds, result))
        if self._working is None:
            self._working = self._loop.create_task(self._work(), name="group commit")
        return result

    async def _work(self) -> None:
        pause_seconds = RETRY_SECONDS[0]
        batch: list[_Call] = []
        try:
            while self._waiting:
                batch = self._next_batch()
                failure = await self._exchange(batch)
                if failure is None:
                    pause_seconds = RETRY_SECONDS[0]
                    continue
                self._put_back(batch, failure)
                batch = []
                await asyncio.sleep(pause_seconds * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause_seconds = min(2 * pause_seconds, RETRY_SECONDS[1])
        finally:  # no await since the last look at _waiting, so no call is forgotten
            self._working = None
            self._refuse(batch)

    def _next_batch(self) -> list[_Call]:
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_EXCHANGE_CALLS))]
        return [call for call in batch if not call.result.done()]

    async def _exchange(self, batch: list[_Call]) -> BaseException | None:
        """Send a batch once and hand out the replies. Returns what broke it off; what then has no reply is left."""
        replies: list[Reply] = []
        failure: BaseException | None = None
        try:
            await self._connection.exchange([call.command for call in batch], replies)
        except OUTAGES as exc:
            failure = exc
        unknown: set[str] = set()
        for call, reply in zip(batch, replies, strict=False):
            if isinstance(reply, NoScriptError):
                unknown.add(call.sha)
            elif not call.result.done():
                _settle(call.result, reply)
        if failure is None and unknown:
            failure = await self._load(unknown)
            self._waiting.extendleft(call for call in reversed(batch) if failure is None and not call.result.done())
        return failure

    async def _load(self, shas: set[str]) -> BaseException | None:
        texts = [self._scripts.with_sha(sha).text for sha in sorted(shas)]
        try:
            await self._connection.exchange([pack("SCRIPT", "LOAD", text) for text in texts], [])
        except OUTAGES as exc:
            return exc
        return None

    def _put_back(self, batch: list[_Call], failure: BaseException) -> None:
        now = time.monotonic()
        left = [call for call in (*batch, *self._waiting) if not call.result.done()]
        late = [call for call in left if call.give_up_at <= now]
        self._refuse(late, failure)
        self._waiting = deque(call for call in left if call.give_up_at > now)
        if late:
            logger.warning("the store does not answer (%s): %d calls given up", type(failure).__name__, len(late))

    @staticmethod
    def _refuse(calls: list[_Call], cause: BaseException | None = None) -> None:
        for call in calls:
            if not call.result.done():
                error = StoreUnavailable()
                error.__cause__ = cause
                call.result.set_exception(error)


def _settle(result: asyncio.Future[Reply], reply: Reply) -> None:
    if isinstance(reply, Exception):
        result.set_exception(reply)
    else:
        result.set_result(reply)
