"""One session of the memory layer: its log, turns, queue and viewers."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable

from relay.exceptions import NotOwner, UpstreamUnavailable
from relay.layers.bounds import Bounds
from relay.layers.live import LiveSubscribers
from relay.layers.memory.log import Log
from relay.layers.memory.questions import Questions
from relay.layers.values import Accepted, AgentPosition, NewTurn, Question, SessionState, Turn, TurnStatus, new_epoch
from relay.protocol import frames
from relay.protocol.client_messages import OnBusy
from relay.protocol.frames import CallFrame, Frame


class TurnRecord:
    """One turn: its message, lease, appends and end."""

    def __init__(self, new_turn: NewTurn, queued_at: float) -> None:
        self.turn_id = new_turn.turn_id
        self.body = new_turn.body
        self.client_message_id = new_turn.client_message_id
        self.subject = new_turn.subject
        self.is_detached = new_turn.is_detached
        self.status: TurnStatus = "queued"
        self.is_cancelled = False
        self.is_abandoned = False
        self.traceparent = new_turn.traceparent
        self.queued_at = queued_at
        self.waited_seconds = self.ran_seconds = 0.0
        self.lease_id = ""
        self.lease_expires_at = 0.0
        self.append_number = 0
        self._position: tuple[int, AgentPosition] | None = None  # of that append
        self.terminal: Frame | None = None
        self.answered: list[Question] = []
        self.is_void = False  # has it ended without reaching the agent?
        self._was_stopped_in_queue = False
        self._digest = _digest(new_turn.body)
        self._cancel_waiters: list[asyncio.Future[None]] = []

    def is_same_message(self, body: str) -> bool:
        return self._digest == _digest(body)

    def cancel(self) -> None:
        self.is_cancelled = True
        self.wake()

    def start(self, lease_id: str, waited_seconds: float) -> None:
        self.status, self.lease_id, self.waited_seconds = "running", lease_id, waited_seconds
        self._was_stopped_in_queue = self.is_cancelled

    def take_over(self, lease_id: str, now: float) -> None:
        self.lease_id, self.is_abandoned = lease_id, True
        self.ran_seconds = now - self.queued_at - self.waited_seconds

    def appended(self, position: AgentPosition | None) -> None:
        self.append_number += 1
        if position is not None:
            self._position = (self.append_number, position)

    @property
    def position(self) -> AgentPosition | None:
        """That of the newest append."""
        number, position = self._position or (0, None)
        return position if number == self.append_number else None

    def end(self, terminal: Frame) -> None:
        self.status, self.terminal, self.body, self.answered = "ended", terminal, "", []
        self._position = None
        self.is_void = self._was_stopped_in_queue or frames.outcome(terminal) == UpstreamUnavailable.code
        self.wake()

    def wake(self) -> None:
        _wake(self._cancel_waiters)

    async def wait_cancelled(self) -> None:
        while not self.is_cancelled and self.status == "running":
            await _wait(self._cancel_waiters, asyncio.get_running_loop())


class Viewers:
    """A session's viewers; an entry expires when its viewer gives no more sign of life."""

    def __init__(self, viewer_seconds: float, clock: Callable[[], float]) -> None:
        self._viewer_seconds = viewer_seconds
        self._clock = clock
        self._expires_at: OrderedDict[str, float] = OrderedDict()

    def enter(self, viewer: str) -> None:
        self._expires_at[viewer] = self._clock() + self._viewer_seconds
        self._expires_at.move_to_end(viewer)

    def stay(self, viewer: str) -> bool:
        """Extend an entry. Returns whether there was one."""
        if self._expires_at.get(viewer, 0.0) <= self._clock():
            return False
        self.enter(viewer)
        return True

    def leave(self, viewer: str) -> None:
        self._expires_at.pop(viewer, None)

    def __len__(self) -> int:
        while self._expires_at and next(iter(self._expires_at.values())) <= self._clock():
            self._expires_at.popitem(last=False)
        return len(self._expires_at)


class MemorySession:
    """A session.

    ``is_empty``: no message was accepted in it yet; ``is_forgotten``: it expired, or made room for others;
    ``is_deleted``: it was erased.
    """

    def __init__(self, session_id: str, bounds: Bounds, clock: Callable[[], float]) -> None:
        self.session_id = session_id
        self.touched_at = clock()
        self.started_at = self.active_at = clock()
        self.log = Log(new_epoch(), max_frames=bounds.max_frames, max_bytes=bounds.max_bytes)
        self.turns: OrderedDict[str, TurnRecord] = OrderedDict()
        self.queue: list[TurnRecord] = []  # short; a deque holds 0.8 kB
        self.running: TurnRecord | None = None
        self.viewers = Viewers(bounds.viewer_seconds, clock)
        self.is_empty = True
        self.is_forgotten = False
        self.is_deleted = False
        self._bounds = bounds
        self._clock = clock
        self.owner: str | None = None
        self._named: dict[str, TurnRecord] = {}
        self.waiters = LiveSubscribers()
        self.questions = Questions(bounds, clock)

    @property
    def unfinished(self) -> int:
        """How many turns are running or queued."""
        return len(self.queue) + (self.running is not None)

    # Turns.

    def unfinished_turns(self) -> list[TurnRecord]:
        """The running turn, if there is one, and the queued ones."""
        return [*([self.running] if self.running is not None else []), *self.queue]

    def turn_named(self, client_message_id: str | None) -> TurnRecord | None:
        return self._named.get(client_message_id) if client_message_id is not None else None

    def turn_to_cancel(self, turn_id: str | None) -> TurnRecord | None:
        if turn_id is not None:
            return self.turns.get(turn_id)
        return self.running or (self.queue[0] if self.queue else None)

    def put_in_queue(self, new_turn: NewTurn) -> TurnRecord:
        record = TurnRecord(new_turn, self._clock())
        record.answered = self.questions.settle(new_turn.answers, record)
        if new_turn.on_busy is OnBusy.INTERRUPT:
            self.queue.insert(0, record)
        else:
            self.queue.append(record)
        self.active_at = self._clock()
        self._remember(record)
        return record

    def start_next(self, lease_id: str) -> TurnRecord:
        record = self.queue.pop(0)
        record.start(lease_id, self._clock() - record.queued_at)
        self.running = record
        answered = [] if record.is_cancelled else record.answered
        resolved = [frames.pending_resolved(record.turn_id, question.call_id) for question in answered]
        self.write([frames.user_message(record.turn_id, record.body), *resolved])
        return record

    def end_turn(self, record: TurnRecord, terminal: Frame) -> None:
        self.write([terminal])
        record.end(terminal)
        if self.running is record:
            self.running = None

    def adopt(self, turn: Turn) -> TurnRecord:
        """Restore a running turn that the store has forgotten."""
        record = TurnRecord(NewTurn(turn_id=turn.turn_id, body="", subject=turn.subject), self._clock())
        record.status, record.lease_id = "running", turn.lease_id
        self._remember(record)
        return record

    def accepted(self, record: TurnRecord, *, duplicate: bool) -> Accepted:
        position = self.queue.index(record) if record.status == "queued" else None
        if record.status == "running":
            position = 0
        return Accepted(record.turn_id, position, record.status, duplicate)

    def _remember(self, record: TurnRecord) -> None:
        self.turns[record.turn_id] = record
        if record.client_message_id is not None:
            self._named[record.client_message_id] = record
        while len(self.turns) > self._bounds.max_remembered_turns:
            oldest = next(iter(self.turns.values()))
            if oldest.status != "ended":
                break
            del self.turns[oldest.turn_id]
            if oldest.client_message_id is not None:
                del self._named[oldest.client_message_id]

    # The log and its tails.

    def start_epoch(self) -> None:
        self.waiters.notify()  # their offsets are of the old one
        self.log = Log(new_epoch(), max_frames=self._bounds.max_frames, max_bytes=self._bounds.max_bytes)

    def write(self, new_frames: list[Frame]) -> None:
        self.log.extend(new_frames)
        for frame in new_frames:
            if type(frame) is CallFrame:
                self.questions.note(frame, self.turns[frame.turn_id])
        self.active_at = self._clock()
        if new_frames:
            self.waiters.push(new_frames)

    # The session.

    def admit(self, subject: str | None) -> None:
        """Check that a subject may act in the session; one without an owner becomes the subject's own."""
        if subject is None:
            return
        if self.owner is None:
            self.owner = subject
        elif self.owner != subject:
            raise NotOwner

    def may_stay(self, subject: str | None) -> bool:
        """Would ``admit`` change nothing, and refuse nothing?"""
        return subject is None or subject == self.owner

    def state(self) -> SessionState:
        running = self.running
        return SessionState(
            session_id=self.session_id,
            epoch=self.log.epoch,
            oldest=self.log.oldest,
            newest=self.log.newest,
            active_turn_id=running.turn_id if running is not None else None,
            active_after=self.log.turn_after if running is not None else self.log.newest,
            is_cancelling=running is not None and running.is_cancelled,
            queued=tuple(record.turn_id for record in self.queue),
            viewers=len(self.viewers),
            is_empty=self.is_empty,
            idle_seconds=self._clock() - self.active_at,
            age_seconds=self._clock() - self.started_at,
            questions=self.questions.open(),
            owner=self.owner,
        )

    def forget(self) -> None:
        self.is_forgotten = True
        self.waiters.notify()

    def delete(self) -> None:
        self.is_deleted = True
        self.waiters.notify()
        if self.running is not None:
            self.running.cancel()


def _digest(body: str) -> bytes:
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).digest()


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()


async def _wait(waiters: list[asyncio.Future[None]], loop: asyncio.AbstractEventLoop) -> None:
    waiter = loop.create_future()
    waiters.append(waiter)
    try:
        await waiter
    except asyncio.CancelledError:
        if waiter in waiters:
            waiters.remove(waiter)
        raise
