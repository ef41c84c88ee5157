"""The session layer of one process: nothing to install, nothing survives the process.

It belongs to one event loop. No call awaits between reading and writing, so each is atomic.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from channels.layers import InMemoryChannelLayer

from relay.exceptions import (
    BufferLost,
    IdempotencyConflict,
    LeaseLost,
    NotOwner,
    QueueFull,
    SessionBusy,
    SessionDeleted,
    TurnCancelled,
)
from relay.layers.base import Order, SessionLayer
from relay.layers.bounds import Bounds, configured_bounds
from relay.layers.lists import urgency
from relay.layers.live import FrameSink
from relay.layers.memory.index import SessionIndex
from relay.layers.memory.limits import MemoryLimits
from relay.layers.memory.outbox import MemoryOutbox
from relay.layers.memory.session import MemorySession, TurnRecord
from relay.layers.values import (
    Accepted,
    AgentPosition,
    CancelAck,
    CancelStatus,
    NewNotification,
    NewTurn,
    SessionPage,
    SessionState,
    Turn,
    Viewer,
    agent_message,
)
from relay.protocol import frames as frames_
from relay.protocol import json_text
from relay.protocol.client_messages import OnBusy
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame

TAIL_BATCH_FRAMES = 256  # a viewer that is behind reads so many at once, then lets others run


class MemorySessionLayer(SessionLayer):
    """Sessions in memory. ``channels`` are keywords of Channels' ``InMemoryChannelLayer``."""

    extensions = SessionLayer.extensions
    survives_process = False

    def __init__(
        self, bounds: Bounds | None = None, clock: Callable[[], float] = time.monotonic, **channels: Any
    ) -> None:
        super().__init__(InMemoryChannelLayer(**channels))
        self.bounds = bounds or configured_bounds()
        self._clock = clock
        self._index = SessionIndex(self.bounds, clock)
        self.limits = MemoryLimits(clock)
        self.outbox: MemoryOutbox = MemoryOutbox(clock)
        self._order_listeners: list[Callable[[Order], None]] = []

    # Turns.

    async def enqueue(self, session_id: str, new_turn: NewTurn) -> Accepted:
        session = self._index.get(session_id) or self._index.new(session_id)
        session.admit(new_turn.subject)
        known = session.turns.get(new_turn.turn_id)
        if known is not None:
            return session.accepted(known, duplicate=False)  # this very call, repeated
        same_name = session.turn_named(new_turn.client_message_id)
        if same_name is not None:
            if not same_name.is_same_message(new_turn.body):
                raise IdempotencyConflict
            return session.accepted(same_name, duplicate=True)
        session.questions.check(new_turn.answers)
        self._refuse_if_busy(session, new_turn.on_busy)
        self._index.start(session)
        if new_turn.on_busy is OnBusy.INTERRUPT and session.running is not None:
            session.running.cancel()
        record = session.put_in_queue(new_turn)
        self._index.reindex(session)
        return session.accepted(record, duplicate=False)

    def _refuse_if_busy(self, session: MemorySession, on_busy: OnBusy) -> None:
        if on_busy is OnBusy.REJECT and session.unfinished:
            raise SessionBusy
        if on_busy is not OnBusy.INTERRUPT and session.unfinished > self.bounds.max_queue:
            raise QueueFull  # one of the unfinished is running, or about to, and does not wait

    async def claim(self, session_id: str, claim_id: str) -> Turn | None:
        session = self._index.get(session_id)
        if session is None:
            return None
        record = session.running
        if record is None:
            if not session.queue:
                return None
            record = session.start_next(claim_id)
        elif record.lease_id != claim_id:
            if record.lease_expires_at > self._clock():
                return None
            record.take_over(claim_id, self._clock())
        self._index.lease(session, record)
        return Turn(
            session_id=session_id,
            turn_id=record.turn_id,
            lease_id=claim_id,
            message=agent_message(record.body),
            subject=record.subject,
            owner=session.owner,
            is_abandoned=record.is_abandoned,
            position=record.position if record.is_abandoned else None,
            is_cancelled=record.is_cancelled,
            waited_seconds=record.waited_seconds,
            ran_seconds=record.ran_seconds,
            traceparent=record.traceparent,
            append_number=record.append_number,
            epoch=session.log.epoch,
            questions=[json_text.decode(question.body) for question in record.answered],
        )

    async def append(self, turn: Turn, frames: list[Frame], position: AgentPosition | None = None) -> int:
        session, record = self._owned(turn)
        _refuse_if_behind(turn, record)
        if record.append_number == turn.append_number:
            if record.is_cancelled:
                raise TurnCancelled
            session.write(frames)
            record.appended(position)
        turn.append_number = record.append_number
        self._index.lease(session, record)
        return session.log.newest  # while a turn runs, only its appends write to the log

    def append_nowait(
        self, turn: Turn, frames: list[Frame], stored: Callable[[], None], position: AgentPosition | None = None
    ) -> bool:
        session = self._index.peek(turn.session_id)
        record = session.running if session is not None else None
        if session is None or record is None or record.lease_id != turn.lease_id or record.is_cancelled:
            return False
        if record.append_number != turn.append_number:
            return False
        session.write(frames)
        record.appended(position)
        turn.append_number = record.append_number
        self._index.lease(session, record)
        stored()
        return True

    async def wait_appended(self, turn: Turn) -> None:
        """See ``SessionLayer``: here an append has ended when it has started."""

    async def finish(self, turn: Turn, terminal: Frame, notification: NewNotification | None = None) -> Frame:
        session, record = self._owned(turn, ended=True)
        if record.terminal is None:
            _refuse_if_behind(turn, record)
            if record.is_cancelled:
                terminal = frames_.final(turn.turn_id, "cancelled")
            session.end_turn(record, terminal)
            self._index.reindex(session)
            if notification is not None:
                self._notify(session, turn, notification, is_cancelled=record.is_cancelled)
        turn.is_last = not session.queue
        return record.terminal or terminal

    async def renew(self, turn: Turn) -> None:
        session, record = self._owned(turn)
        self._index.lease(session, record)
        if record.is_cancelled:
            raise TurnCancelled

    async def release(self, turn: Turn) -> None:
        session, record = self._owned(turn)
        self._index.release(session, record)

    async def wait_cancelled(self, turn: Turn) -> None:
        try:
            _, record = self._owned(turn)
        except LeaseLost:
            return
        await record.wait_cancelled()

    async def cancel(self, session_id: str, turn_id: str | None = None, subject: str | None = None) -> CancelAck:
        session = self._index.get(session_id)
        if session is not None:
            session.admit(subject)
        record = session.turn_to_cancel(turn_id) if session is not None else None
        if record is None:
            return CancelAck(turn_id, CancelStatus.UNKNOWN)
        if record.status == "ended":
            return CancelAck(record.turn_id, CancelStatus.ALREADY_ENDED)
        record.cancel()
        status = CancelStatus.CANCELLING if record.status == "running" else CancelStatus.QUEUED
        return CancelAck(record.turn_id, status)

    async def reset(self, turn: Turn, text: str, notification: NewNotification | None = None) -> Frame:
        session = self._index.get(turn.session_id) or self._index.new(turn.session_id)
        record = session.turns.get(turn.turn_id)
        if record is not None and record.lease_id != turn.lease_id:
            raise LeaseLost
        if record is not None and record.terminal is not None:
            turn.is_last = not session.queue
            return record.terminal
        if session.running is not None and session.running.lease_id != turn.lease_id:
            raise LeaseLost
        if record is None and session.log.newest:
            raise LeaseLost  # another turn has been written since
        try:
            session.admit(turn.owner)
        except NotOwner as exc:
            raise LeaseLost from exc
        self._index.start(session)
        terminal = frames_.error(turn.turn_id, BufferLost())
        session.start_epoch()
        session.log.restart_turn(turn.turn_id, text)
        session.end_turn(record or session.adopt(turn), terminal)
        turn.epoch = session.log.epoch
        turn.is_last = not session.queue
        self._index.reindex(session)
        if notification is not None:
            self._notify(session, turn, notification, is_cancelled=False)
        return terminal

    async def cancel_unwatched(self, session_id: str) -> int:
        session = self._index.get(session_id)
        if session is None or len(session.viewers):
            return 0
        return _cancel(record for record in session.unfinished_turns() if not record.is_detached)

    async def clear_queue(self, session_id: str) -> int:
        session = self._index.get(session_id)
        return _cancel(session.queue) if session is not None else 0

    async def pending(self, limit: int) -> list[str]:
        return self._index.pending(limit)

    # The log.

    async def read(self, session_id: str, after: Cursor, limit: int, subject: str | None = None) -> list[Frame]:
        return self._opened(session_id, subject).log.after(after, limit)

    async def tail(
        self, session_id: str, after: Cursor, sink: FrameSink | None = None, subject: str | None = None
    ) -> AsyncGenerator[list[Frame], None]:
        session = self._opened(session_id, subject)
        loop = asyncio.get_running_loop()  # once: on Python 3.11 it costs a system call
        while True:
            if session.is_deleted:
                raise SessionDeleted
            if session.is_forgotten:
                session = self._opened(session_id, subject)
            batch = session.log.after(after, TAIL_BATCH_FRAMES)
            if batch:
                after = Cursor(after.epoch, batch[-1].offset)
                yield batch
            else:
                after = Cursor(after.epoch, await session.waiters.wait(after.offset, sink, loop))

    # Sessions.

    async def attach(self, session_id: str, viewer: str, subject: str | None = None) -> int:
        session = self._opened(session_id, subject)
        session.viewers.enter(viewer)
        self._index.reindex(session)
        return len(session.viewers)

    async def keep_attached(self, viewers: Sequence[Viewer], answer: Callable[[int, Cursor | None], None]) -> None:
        self._index.forget_expired()
        for place, (session_id, name, subject) in enumerate(viewers):
            session = self._index.peek(session_id)
            if session is not None and session.may_stay(subject) and session.viewers.stay(name):
                self._index.reindex(session)
                answer(place, session.log.position)
            else:
                answer(place, None)

    async def detach(self, session_id: str, viewer: str) -> int:
        session = self._index.get(session_id)
        if session is None:
            return 0
        session.viewers.leave(viewer)
        left = len(session.viewers)
        if session.is_empty and not left:
            self._index.forget(session)
        else:
            self._index.reindex(session)
        return left

    async def ensure(self, session_id: str, subject: str | None = None) -> SessionState:
        return self._opened(session_id, subject).state()

    async def get(self, session_id: str, subject: str | None = None) -> SessionState | None:
        session = self._index.get(session_id)
        if session is None:
            return None
        session.admit(subject)
        return session.state()

    async def active(self, cursor: str, limit: int) -> tuple[list[SessionState], str]:
        page = self._index.page(cursor, limit + 1)
        more = page[limit - 1].session_id if len(page) > limit else ""
        return [session.state() for session in page[:limit]], more

    async def busiest(self, limit: int) -> SessionPage:
        found = [session.state() for session in self._index.busiest(limit + 1)]
        return SessionPage(sessions=sorted(found[:limit], key=urgency), is_all=len(found) <= limit)

    async def delete(self, session_id: str) -> bool:
        self.outbox.erase(session_id)  # which keeps what a session that has expired left there
        session = self._index.get(session_id)
        if session is None:
            return False
        self._index.remove(session)
        session.delete()
        return True

    async def check(self) -> None:
        self._index.check_room()

    # Orders.

    async def publish_order(self, order: Order) -> None:
        for follow in self._order_listeners:
            follow(order)

    async def listen_for_orders(self, follow: Callable[[Order], None]) -> None:
        self._order_listeners.append(follow)

    # Life.

    async def flush(self) -> None:
        await self._channels.flush()
        for session in list(self._index):
            await self.delete(session.session_id)

    async def close(self) -> None:
        self._order_listeners.clear()

    def _notify(self, session: MemorySession, turn: Turn, notification: NewNotification, *, is_cancelled: bool) -> None:
        if not (notification.if_unwatched and len(session.viewers)):
            self.outbox.put(turn.turn_id, session.session_id, notification, is_cancelled=is_cancelled)

    def _opened(self, session_id: str, subject: str | None) -> MemorySession:
        """Find a session, or create an empty one, and check its owner."""
        session = self._index.get_or_create(session_id)
        session.admit(subject)
        return session

    def _owned(self, turn: Turn, *, ended: bool = False) -> tuple[MemorySession, TurnRecord]:
        """Find the turn that its lease may write; ``ended``: also one that has ended under this lease."""
        session = self._index.peek(turn.session_id)
        record = session.turns.get(turn.turn_id) if session is not None else None
        if session is None or record is None or record.lease_id != turn.lease_id:
            raise LeaseLost
        if record.status == "ended" and not ended:
            raise LeaseLost
        return session, record


def _refuse_if_behind(turn: Turn, record: TurnRecord) -> None:
    if turn.append_number > record.append_number:
        raise LeaseLost  # the store has lost frames that it had confirmed


def _cancel(records: Iterable[TurnRecord]) -> int:
    found = [record for record in records if not record.is_cancelled]
    for record in found:
        record.cancel()
    return len(found)
