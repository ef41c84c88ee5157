"""Group commit: one exchange is in flight; calls that arrive meanwhile go out together in the next.

So a busy process pays for one round trip for all its sessions, and a single call waits for no others. A node of a
cluster may refuse single calls, because it does not serve their slot now: these go to another node, or are repeated
after a pause, and hold up no others.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Final, Protocol

from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, RedisError, TryAgainError

from relay.exceptions import StoreUnavailable
from relay.layers.redis.connection import Argument, RedisConnection, is_unable, pack
from relay.layers.redis.failures import not_served, reason
from relay.layers.redis.keys import ScriptKeys
from relay.layers.redis.scripts import Scripts
from relay.layers.redis.wire import Reply
from relay.observability import metrics
from relay.observability.histogram import Buckets
from relay.observability.outage_log import OutageLog
from relay.tasks import Backoff, cancel_and_wait

MAX_EXCHANGE_CALLS: Final = 512
MAX_WAITING_CALLS: Final = 20_000  # more than a process can have in flight unless its store is gone
RETRY_SECONDS: Final = (0.02, 0.5)  # the first and the longest pause before an exchange, or a call, is repeated
MAX_REDIRECTS: Final = 4  # of one call without a pause: nodes may disagree for a moment about the owner of a slot

_ASKING: Final = pack("ASKING")
_OF_A_CLUSTER: Final = (AskError, ClusterDownError, TryAgainError)  # ``MovedError`` is an ``AskError``


class ReplyHandler(Protocol):
    """Receives a call's reply or failure: an ``asyncio.Future``, or an object that handles it synchronously."""

    def done(self) -> bool:
        """Has it received one, or was it cancelled?"""

    def set_result(self, reply: Reply, /) -> None:
        """Take the reply. Must not raise, nor wait."""

    def set_exception(self, failure: Exception, /) -> None:
        """Take the failure. Must not raise, nor wait."""


class Routes(Protocol):
    """The ways from one node of a cluster to the others."""

    def owner(self, bucket: int) -> GroupCommit:
        """Return where calls in a bucket go now."""

    def learn(self, reply: MovedError) -> None:
        """Note which node serves a slot, as the node says that has refused a call."""

    def ask(self, reply: AskError) -> GroupCommit:
        """Return where one call goes that the node has refused: the slot is on its way to another one."""

    def doubt(self) -> None:
        """Have another node asked who serves what: this one serves nothing now, or not what it should."""


class _Call:
    __slots__ = ("asked_at", "bucket", "command", "duration", "handler", "name", "refusals")

    def __init__(self, command: bytes, name: str, bucket: int, duration: Buckets, handler: ReplyHandler) -> None:
        self.command = command
        self.name = name
        self.bucket = bucket
        self.duration = duration
        self.handler = handler
        self.refusals = 0  # by nodes that do not serve its slot
        self.asked_at = time.monotonic()


_Errors = list[tuple[_Call, RedisError]]
_NO_BUCKET: Final = -1  # of a call that is meant for this node, whatever it serves


class GroupCommit:
    """Calls of scripts over one connection, repeated through an outage for ``patience_seconds``.

    A repeated call was perhaps done before: every script recognises its own repetition, or may be done twice. Scripts
    refuse by values; an error reply means that the store cannot do, or the user may not do, what was asked.

    One failed exchange ends no call, however long it took: after the whole process stood still, its time limits are
    over before it looks for the replies.

    Args:
        routes: to the other nodes; ``None`` for a store that is no cluster.

    Attributes:
        failure: why the last exchange failed; ``None`` if it did not.
    """

    def __init__(
        self,
        url: str,
        scripts: Scripts,
        outages: OutageLog,
        *,
        timeout_seconds: float,
        patience_seconds: float,
        routes: Routes | None = None,
    ) -> None:
        self._scripts = scripts
        self._outages = outages
        self._patience_seconds = patience_seconds
        self._routes = routes
        self.failure: BaseException | None = None
        self._connection = RedisConnection(url, timeout_seconds=timeout_seconds)
        self._waiting: deque[_Call] = deque()
        self._asking: deque[_Call] = deque()  # sent on by a node that is giving their slots to this one
        self._parked: dict[_Call, asyncio.TimerHandle] = {}  # until they are repeated
        self._in_flight: list[_Call] = []
        self._is_busy = False  # an exchange is in flight, or about to be
        self._is_closed = False
        self._leave: Callable[[Sequence[_Call]], None] = self._refuse  # takes the calls that are left at the end
        self._mending: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._context = Context()  # exchanges are for all sessions: log lines carry no name of a caller

    def call(self, name: str, keys: ScriptKeys, arguments: tuple[Argument, ...]) -> asyncio.Future[Reply]:
        """Call a script; cancelling the future gives up waiting, the call may be done nevertheless.

        Raises:
            StoreUnavailable: (when awaited) the store did not answer within ``patience_seconds``, or refused it.
        """
        result: asyncio.Future[Reply] = self._loop.create_future()
        self.submit(result, name, keys, arguments)
        return result

    def submit(self, handler: ReplyHandler, name: str, keys: ScriptKeys, arguments: tuple[Argument, ...]) -> None:
        """Call a script; ``handler`` receives the reply.

        Raises:
            StoreUnavailable: too many calls wait already.
        """
        sha = self._scripts[name].sha
        self._send(handler, name, keys.bucket, pack("EVALSHA", sha, len(keys.names), *keys.names, *arguments))

    def load(self, name: str) -> asyncio.Future[Reply]:
        """Load a script, whether the store knows it or not.

        Raises:
            StoreUnavailable: as ``call``.
        """
        result: asyncio.Future[Reply] = self._loop.create_future()
        self._send(result, "load", _NO_BUCKET, pack("SCRIPT", "LOAD", self._scripts[name].text))
        return result

    def _send(self, handler: ReplyHandler, name: str, bucket: int, command: bytes) -> None:
        if len(self._waiting) + len(self._parked) >= MAX_WAITING_CALLS:
            raise StoreUnavailable
        self._waiting.append(_Call(command, name, bucket, metrics.STORE_CALLS.labels(name), handler))
        if not self._is_busy:
            self._start()

    def _start(self) -> None:
        """Start an exchange when this iteration of the loop ends, so that all calls of the iteration share it."""
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._next, context=self._context)

    async def close(self) -> None:
        """Close the connection; calls that wait are refused."""
        self._is_closed = True
        if self._mending is not None:
            await cancel_and_wait(self._mending)
        for timer in self._parked.values():
            timer.cancel()
        self._leave([*self._in_flight, *self._take_waiting(), *self._parked])
        self._in_flight, self._parked = [], {}
        await self._connection.close()

    async def retire(self) -> None:
        """Close the connection to a node that serves nothing any more; calls that wait go to the others."""
        self._leave = self._leave_to_others
        await self.close()

    def hand_over(self) -> None:
        """Send calls that wait for this node, but are served by others now, to these."""
        self._hand_over(self._take_waiting())

    # While all goes well, there is no task: the call that reads the last reply hands out all of them.

    def _next(self) -> None:
        """Send the calls that wait, if any do."""
        if self._is_closed:
            self._abandon([])
            return
        while self._waiting and not self._asking and self._connection.is_open:
            if batch := self._next_batch(self._waiting):
                self._in_flight = batch
                self._connection.ask([call.command for call in batch], self._take)
                return
        if self._asking or self._waiting:
            self._mend([], [], None)
        else:
            self._is_busy = False

    def _take(self, replies: list[Reply], failure: Exception | None) -> None:
        batch, self._in_flight = self._in_flight, []
        try:
            errors = self._hand_out(batch, replies)
        except BaseException:  # a handler has a bug
            self._abandon(batch)
            raise
        if errors or failure is not None:
            self._mend(batch, errors, failure)
        else:
            # Not at once: tokens that are read from other sockets in this iteration go out together.
            self._loop.call_soon(self._next, context=self._context)

    def _mend(self, batch: list[_Call], errors: _Errors, failure: BaseException | None) -> None:
        mending = self._mend_and_go_on(batch, errors, failure)
        self._mending = self._loop.create_task(mending, name="group commit", context=self._context)

    async def _mend_and_go_on(self, batch: list[_Call], errors: _Errors, failure: BaseException | None) -> None:
        """Open the connection, load scripts, and repeat calls, with pauses, until an exchange succeeds."""
        backoff, failed_before = Backoff(*RETRY_SECONDS), False
        try:
            while True:
                failure = self.failure = await self._take_errors(batch, errors, failure) if errors else failure
                if failure is not None:
                    self._put_back(batch, failure, gives_up=failed_before)
                    batch, failed_before = [], True
                    await backoff.pause()
                else:
                    backoff.reset()
                    failed_before = False
                    if self._connection.is_open and not self._asking:
                        break
                if not self._asking and not self._waiting:
                    break
                is_asking = bool(self._asking)
                batch = self._next_batch(self._asking if is_asking else self._waiting)
                errors, failure = await self._exchange(batch, is_asking=is_asking)
        except BaseException:  # it was closed, or has a bug
            self._abandon(batch)
            raise
        finally:
            self._mending = None
        self._next()

    def _abandon(self, batch: list[_Call]) -> None:
        """Forget no call when nothing goes on here."""
        self._is_busy = False
        self._leave([*batch, *self._take_waiting()])

    def _take_waiting(self) -> list[_Call]:
        waiting = [*self._asking, *self._waiting]
        self._asking.clear()
        self._waiting.clear()
        return waiting

    @staticmethod
    def _next_batch(waiting: deque[_Call]) -> list[_Call]:
        batch = [waiting.popleft() for _ in range(min(len(waiting), MAX_EXCHANGE_CALLS))]
        return [call for call in batch if not call.handler.done()]

    async def _exchange(self, batch: list[_Call], *, is_asking: bool) -> tuple[_Errors, BaseException | None]:
        """Send a batch once and hand out the replies. Returns the errors, and what kept calls without a reply."""
        commands = [call.command for call in batch]
        if is_asking:
            commands = [part for command in commands for part in (_ASKING, command)]
        replies: list[Reply] = []
        failure: BaseException | None = None
        try:
            await self._connection.exchange(commands, replies)
        except (RedisError, OSError) as exc:
            failure = exc
        if is_asking:
            del replies[::2]
        return self._hand_out(batch, replies), failure

    @staticmethod
    def _hand_out(batch: list[_Call], replies: list[Reply]) -> _Errors:
        errors: _Errors = []
        now = time.monotonic()
        for call, reply in zip(batch, replies, strict=False):
            if isinstance(reply, RedisError):
                errors.append((call, reply))
            elif not call.handler.done():
                call.duration.observe(now - call.asked_at)
                call.handler.set_result(reply)
        return errors

    async def _take_errors(
        self, batch: list[_Call], errors: _Errors, failure: BaseException | None
    ) -> BaseException | None:
        """Refuse calls, or see that they are repeated. Those that other nodes serve are taken out of the batch."""
        unknown: set[str] = set()
        for call, reply in errors:
            if isinstance(reply, NoScriptError):
                unknown.add(call.name)
            elif is_unable(reply):
                failure = reply
            elif self._routes is not None and isinstance(reply, _OF_A_CLUSTER):
                batch.remove(call)
                self._send_on(call, reply, self._routes)
            else:
                self._refuse([call], reply, "refused")
                self._outages.failed(
                    "store call refused: %s", reason(reply), level=logging.ERROR, call=call.name, reply=str(reply)
                )
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

    def _put_back(self, batch: list[_Call], failure: BaseException, *, gives_up: bool) -> None:
        too_old = time.monotonic() - self._patience_seconds if gives_up else float("-inf")
        repeated = [call for call in batch if not call.handler.done()]
        left = [*repeated, *self._take_waiting()]
        late = [call for call in left if call.asked_at <= too_old]
        self._refuse(late, failure)
        metrics.STORE_REPEATS.inc(len(repeated))
        if late:
            self._outages.failed("store calls given up: %s", reason(failure))
        if self._routes is not None:
            self._routes.doubt()
        self._hand_over([call for call in left if call.asked_at > too_old])

    # Calls that another node serves, or none at the moment.

    def _send_on(self, call: _Call, reply: RedisError, routes: Routes) -> None:
        """Send a call where the node says, or repeat it after a pause."""
        metrics.STORE_REPEATS.inc()
        call.refusals += 1
        if isinstance(reply, MovedError):
            routes.learn(reply)
        elif isinstance(reply, ClusterDownError):
            routes.doubt()
        if not isinstance(reply, AskError) or call.refusals > MAX_REDIRECTS:
            self._park(call, reply)
        elif isinstance(reply, MovedError):
            self._hand_over([call])
        else:
            there = routes.ask(reply)
            there._asking.append(call)
            there._start()

    def _park(self, call: _Call, reply: RedisError) -> None:
        if call.refusals > 1 and call.asked_at <= time.monotonic() - self._patience_seconds:
            failure = not_served(reply)
            self._refuse([call], failure)
            self._outages.failed("store calls given up: %s", reason(failure))
            return
        first, longest = RETRY_SECONDS
        seconds = min(first * 2.0 ** min(call.refusals, 10), longest) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        self._parked[call] = self._loop.call_later(seconds, self._unpark, call)

    def _unpark(self, call: _Call) -> None:
        del self._parked[call]
        self._hand_over([call])

    def _leave_to_others(self, calls: Sequence[_Call]) -> None:
        self._refuse([call for call in calls if call.bucket == _NO_BUCKET])
        self._hand_over([call for call in calls if not call.handler.done()])

    def _hand_over(self, calls: Sequence[_Call]) -> None:
        """Let calls wait for the nodes that serve them, each behind those that wait there already."""
        for call in calls:
            there = self if self._routes is None or call.bucket == _NO_BUCKET else self._routes.owner(call.bucket)
            there._receive(call)

    def _receive(self, call: _Call) -> None:
        if self._is_closed:
            self._refuse([call])
        else:
            self._waiting.append(call)
            self._start()

    @staticmethod
    def _refuse(calls: Sequence[_Call], cause: BaseException | None = None, kind: str = "unavailable") -> None:
        for call in calls:
            if not call.handler.done():
                metrics.STORE_ERRORS.labels(kind).inc()
                error = StoreUnavailable("" if cause is None else reason(cause))
                error.__cause__ = cause
                call.handler.set_exception(error)
