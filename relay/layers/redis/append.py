"""One append to a store, from the call to its reply; no task needs to wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.layers.redis.frames import encode
from relay.layers.redis.replies import accept
from relay.layers.redis.store import Store
from relay.layers.redis.wire import Reply
from relay.layers.values import AgentPosition, Turn
from relay.protocol.frames import CallFrame, Frame


class PendingAppend:
    """A ``ReplyHandler``: the call that reads the reply also hands out the frames, so no task is woken.

    While it is in flight, announcements of the session's frames are ignored: they announce this append, whose reply
    says the same. If it is refused, gets no reply, or had been stored before, the tails of this process read the log.
    """

    def __init__(
        self,
        store: Store,
        turn: Turn,
        frames: list[Frame],
        now: str,
        stored: Callable[[], None] | None = None,
        position: AgentPosition | None = None,
    ) -> None:
        self._store = store
        self._turn = turn
        self._frames = frames
        self._stored = stored
        self._number = turn.append_number
        self._end = 0
        self._is_done = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        session_id, lease = turn.session_id, (turn.turn_id, turn.lease_id, self._number)
        calls = [frame for frame in frames if type(frame) is CallFrame]
        if calls:
            store.append_calls(self, session_id, now, *lease, *map(encode, frames), calls=calls, position=position)
        elif position is not None:
            store.append_at(self, session_id, now, *lease, *map(encode, frames), position=position)
        else:
            store.append(self, session_id, now, *lease, *map(encode, frames))
        self._feed = store.watched(turn.session_id)
        if self._feed is not None:
            self._feed.start_append()

    async def wait(self) -> int:
        """Wait for the reply. Returns the offset of the last frame.

        Raises:
            RelayError: it was refused, or the store did not answer in time.
        """
        if not self._is_done:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._failure is not None:
            raise self._failure
        return self._end

    # ReplyHandler, for the group commit.

    def done(self) -> bool:
        """Has it received a reply or a failure?"""
        return self._is_done

    def set_result(self, reply: Reply) -> None:
        """Take the reply: number the frames and give them to the tails here; or keep the refusal."""
        if self._feed is not None:
            self._feed.end_append(is_new=isinstance(reply, list) and reply[2] is not None)
        try:
            self._take_in(accept(reply))
        except Exception as exc:  # a refusal, or a bug: the turn fails, not the group commit
            self._failure = exc
        self._wake()

    def set_exception(self, failure: Exception) -> None:
        """Take note that there will be no reply."""
        if self._feed is not None:
            self._feed.end_append(is_new=False)
        self._failure = failure
        self._wake()

    def _take_in(self, reply: Reply) -> None:
        turn, frames = self._turn, self._frames
        turn.append_number, self._end, epoch = reply
        if epoch is not None and frames:  # the store has stored these now, and no others under this number before
            after = self._end - len(frames)
            for offset, frame in enumerate(frames, after + 1):
                frame.offset = offset
            self._store.feed(turn.session_id, epoch, after, frames)
        if turn.appending is self:
            turn.appending = None
        if self._stored is not None:
            self._stored()

    def _wake(self) -> None:
        self._is_done = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
