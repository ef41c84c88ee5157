"""The contract of a session layer: a Channels channel layer with one extension, ``"sessions"``.

Every call is atomic and **may be repeated after a lost reply without a second effect**. Every write of a turn presents
its lease; a lease is lost only when another worker has claimed the session, so an owner that is merely late continues
to write. Two workers never write one turn, and a turn never gets two ends.

An **empty** session is watched, but has no accepted message yet. It has an epoch, which is that of its first frame to
come, and perhaps an owner. Only its viewers keep it: it ends when the last one detaches, or ``VIEWER_SECONDS`` after
the last call that attached one (or that looked at an unknown session). ``active`` and ``pending`` do not list it, it
never takes another session's room, and the number of empty sessions is limited. ``enqueue`` and ``reset`` turn it into
a session like any other.

After a call was cancelled (``asyncio``) it is either done or not done, never half done: repeat it to find out.

A session belongs to the first ``subject`` that attaches to it, or that sends a message, cancels or reads in it. Each of
these calls checks the owner in the same step in which it acts, because a session may be deleted, and belong to another
subject by the next call. The subject ``None`` (a service, or a client without an identity) is not checked, and
owns nothing.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, ClassVar, Final, TypeAlias

from channels.layers import BaseChannelLayer

from relay.layers import lists
from relay.layers.limits import Limits
from relay.layers.live import FrameSink
from relay.layers.outbox import Outbox
from relay.layers.values import (
    Accepted,
    AgentPosition,
    CancelAck,
    NewNotification,
    NewTurn,
    SessionPage,
    SessionState,
    Turn,
    Viewer,
)
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame

__all__ = ["Limits", "Outbox", "SessionLayer"]

EXTENSION: Final = "sessions"
_ATTACHING: Final = ("attach", "keep_attached")

Order: TypeAlias = dict[str, str | None]
"""An operator's order to every process: texts by name."""


class SessionLayer(BaseChannelLayer, abc.ABC):  # type: ignore[misc]  # Channels has no types
    """Sessions, each with queue, lease, log and state, beside the groups and channels of Channels.

    Args:
        channels: the layer that implements groups and channels.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush", EXTENSION]
    survives_process: ClassVar[bool] = True  # may another process continue where this one ended?
    limits: Limits  # rates, and credentials that may be used once
    outbox: Outbox  # notifications of ended turns

    def __init__(self, channels: BaseChannelLayer) -> None:
        super().__init__()
        self._channels = channels

    def __init_subclass__(cls, **options: Any) -> None:
        """Let rules that a subclass adds to ``attach`` hold for viewers that are kept attached, too."""
        super().__init_subclass__(**options)
        nearest = next(base for base in cls.__mro__ if not vars(base).keys().isdisjoint(_ATTACHING))
        if "keep_attached" not in vars(nearest):
            cls.keep_attached = SessionLayer.keep_attached  # type: ignore[method-assign]

    # Turns: from a client's message to its terminal frame.

    @abc.abstractmethod
    async def enqueue(self, session_id: str, new_turn: NewTurn) -> Accepted:
        """Store a message in the session's queue, which starts the session; write no frame.

        The ``client_message_id`` is looked up first: for a message that is known by it, its turn is returned. The
        questions that the message answers are settled in the same step. Each is open again if the turn ends without
        having reached the agent: cancelled in the queue, or ``upstream_unavailable``.

        Raises:
            NotOwner: the session belongs to another subject than the message's.
            SessionBusy: ``on_busy`` is ``reject`` and a turn is running or queued.
            QueueFull: ``max_queue`` messages are waiting; never with ``interrupt``, which cancels the turn in flight
                and puts this one at the queue's head in the same step.
            IdempotencyConflict: the ``client_message_id`` belongs to another message.
            AlreadyDecided: the message answers a question that another message has answered, or that has expired.
            StoreUnavailable: there is no room for one more session.
        """

    @abc.abstractmethod
    async def claim(self, session_id: str, claim_id: str) -> Turn | None:
        """Take the session's lease, if no worker holds a live one.

        Returns the abandoned turn if there is one, with the position of its answer and the time for which it has run.
        Otherwise returns the head of the queue, and appends its ``user_message`` frame and a ``pending_resolved`` frame
        for each question that it answers; ``None`` if there is neither, or if another worker holds the lease. The
        lease becomes ``claim_id``, which is random.
        """

    @abc.abstractmethod
    async def append(self, turn: Turn, frames: list[Frame], position: AgentPosition | None = None) -> int:
        """Append frames under the turn's lease, extend it, and announce them; repeat it only with the same frames.

        The agent's position after these frames is stored in the same step, and is passed with the turn to a worker that
        takes it over. It is valid until the next append: after one without a position the answer cannot continue
        elsewhere. An append may have a position and no frames.

        A question to a person among the frames (``CallFrame``) becomes a question of the session in the same step. It
        is kept for ``question_seconds``, and so is the session; a ``tool_result`` of the agent settles it, too.

        Returns:
            The offset of the last of them.

        Raises:
            LeaseLost: another worker has the session, the session is gone, or the store has lost appends that it had
                confirmed.
            TurnCancelled: nothing was stored; call ``finish``.
        """

    @abc.abstractmethod
    def append_nowait(
        self, turn: Turn, frames: list[Frame], stored: Callable[[], None], position: AgentPosition | None = None
    ) -> bool:
        """Start to append frames without waiting, so that a token wakes no task.

        A failure of this append is raised by the turn's next ``append`` or ``wait_appended``.

        Args:
            frames: at least one.
            stored: called once the frames are in the log, perhaps within this call.
            position: as in ``append``.

        Returns:
            Whether the append was started. If not, nothing has happened: ``append`` stores the frames, or raises the
            reason why it cannot.
        """

    @abc.abstractmethod
    async def wait_appended(self, turn: Turn) -> None:
        """Wait for the append that ``append_nowait`` started, if there is one in flight.

        Raises:
            RelayError: as ``append``.
        """

    @abc.abstractmethod
    async def finish(self, turn: Turn, terminal: Frame, notification: NewNotification | None = None) -> Frame:
        """Append the terminal frame, end the turn, free the lease; in the same step, fill the outbox.

        Also notes whether the turn ``is_last``. A layer that never does so costs its workers one more ``claim`` a turn.

        Args:
            notification: goes into the outbox once, however often the call is repeated.

        Returns:
            The stored terminal frame: for a cancelled turn ``cancelled``, whatever was requested.

        Raises:
            LeaseLost: another worker has the session, the session is gone, or the store has lost appends that it had
                confirmed: an incomplete answer must not get an end that makes it look complete.
        """

    @abc.abstractmethod
    async def renew(self, turn: Turn) -> None:
        """Extend the lease by ``LEASE_SECONDS`` from now.

        Raises:
            LeaseLost: another worker has the session, or the session is gone.
            TurnCancelled: the turn was cancelled; the lease was extended nevertheless.
        """

    @abc.abstractmethod
    async def release(self, turn: Turn) -> None:
        """Let the lease expire now: the next claim hands the turn, as an abandoned one, to another worker.

        Raises:
            LeaseLost: another worker has the session, or the session is gone.
        """

    @abc.abstractmethod
    async def wait_cancelled(self, turn: Turn) -> None:
        """Return when the turn may have been cancelled, or its session is gone. This is a hint; ``renew`` knows."""

    @abc.abstractmethod
    async def cancel(self, session_id: str, turn_id: str | None = None, subject: str | None = None) -> CancelAck:
        """Mark a turn cancelled and announce it; without ``turn_id`` the one in flight, otherwise the queue's head.

        Raises:
            NotOwner: the session belongs to another subject.
        """

    @abc.abstractmethod
    async def cancel_unwatched(self, session_id: str) -> int:
        """Cancel the running and queued turns that are not detached, if no viewer is attached. Returns how many."""

    @abc.abstractmethod
    async def reset(self, turn: Turn, text: str, notification: NewNotification | None = None) -> Frame:
        """Start a new epoch, which becomes the turn's, after the store forgot the log.

        It contains the turn's text so far, ended with ``buffer_lost``. Also notes whether the turn ``is_last``.

        Args:
            text: escaped, as between the quotes of a JSON string.
            notification: as in ``finish``.

        Returns:
            The stored terminal frame.

        Raises:
            LeaseLost: another turn has started since, another worker has this one, the session was deleted, or it
                belongs to another subject than when the turn was claimed.
        """

    @abc.abstractmethod
    async def clear_queue(self, session_id: str) -> int:
        """Cancel every queued turn; each keeps its place and ends without being run. Returns how many."""

    @abc.abstractmethod
    async def pending(self, limit: int) -> list[str]:
        """Name at most ``limit`` sessions that have an unfinished turn or a queue, and no live lease."""

    # The log.

    @abc.abstractmethod
    async def read(self, session_id: str, after: Cursor, limit: int, subject: str | None = None) -> list[Frame]:
        """Return at most ``limit`` frames after a position; an empty list at the newest.

        Raises:
            NotOwner: the session belongs to another subject.
            ReplayGap: the position is of another epoch, beyond the newest, or frames after it are gone; or the session
                did not exist, and was created as an empty one.
        """

    @abc.abstractmethod
    def tail(
        self, session_id: str, after: Cursor, sink: FrameSink | None = None, subject: str | None = None
    ) -> AsyncGenerator[list[Frame], None]:
        """Yield the frames after a position, then each new one, in batches: never a hole, never a duplicate.

        Args:
            sink: receives frames while the iterator waits; the iterator does not yield frames that the sink accepts.

        Raises:
            NotOwner, ReplayGap: as in ``read``; after a gap, start again after the snapshot.
            SessionDeleted: the session was erased.
        """

    # Sessions.

    @abc.abstractmethod
    async def attach(self, session_id: str, viewer: str, subject: str | None = None) -> int:
        """Register a viewer, or keep it registered: an entry lasts ``VIEWER_SECONDS`` after the last call.

        Returns:
            The number of attached viewers, including this one.

        Raises:
            NotOwner: the session belongs to another subject.
            StoreUnavailable: there is no room for one more session, or for one more empty one.
        """

    async def keep_attached(self, viewers: Sequence[Viewer], answer: Callable[[int, Cursor | None], None]) -> None:
        """Extend the entries of attached viewers, all in one call that costs less than an ``attach`` for each.

        It creates nothing and refuses no viewer. A viewer for which ``attach`` would do more is left to that: its entry
        has lapsed, or its session is gone, or belongs to another subject, or to none yet. By default all viewers are
        left to it, as they are in a subclass that has an ``attach`` of its own, but no ``keep_attached``.

        As a use of the session, after which it is kept for ``ttl_seconds``, the call may count for an earlier moment:
        by up to three ``viewer_seconds``, and half of ``ttl_seconds``.

        Args:
            answer: is called once for each viewer as soon as its result is known, unless this call is cancelled before;
                must neither raise nor wait. It gets the viewer's place among ``viewers`` and the newest position of its
                session's log; or ``None``: nothing has happened, call ``attach``.
        """
        for place in range(len(viewers)):
            answer(place, None)

    @abc.abstractmethod
    async def detach(self, session_id: str, viewer: str) -> int:
        """Remove a viewer; an empty session ends with its last one. Returns the number of viewers left."""

    @abc.abstractmethod
    async def ensure(self, session_id: str, subject: str | None = None) -> SessionState:
        """Describe a session; one that does not exist is created as an empty one, for a viewer that is about to attach.

        Raises:
            NotOwner: the session belongs to another subject.
            StoreUnavailable: there is no room for one more session, or for one more empty one.
        """

    @abc.abstractmethod
    async def get(self, session_id: str, subject: str | None = None) -> SessionState | None:
        """Describe a session, even an empty one; ``None`` if there is none. Unlike ``ensure`` it creates nothing.

        Raises:
            NotOwner: the session belongs to another subject.
        """

    @abc.abstractmethod
    async def active(self, cursor: str, limit: int) -> tuple[list[SessionState], str]:
        """List all sessions except empty ones, a page per call. ``""`` starts, and is returned with the last page."""

    async def page(self, cursor: str, limit: int) -> SessionPage:
        """List sessions as ``active`` does, by default by ``active``.

        A server that does not answer in time delays nothing: its sessions are missing on the page, which says so.

        Raises:
            StoreUnavailable: no server answered.
        """
        states, following = await self.active(cursor, limit)
        return SessionPage(sessions=states, cursor=following, is_all=not following)

    async def busiest(self, limit: int) -> SessionPage:
        """List at most ``limit`` sessions: with a running turn, then with queued messages, then those last used.

        By default ``active`` is asked, for the first 10,000 sessions at most. As in ``page``, servers may be missing.

        Raises:
            StoreUnavailable: no server answered.
        """
        return await lists.busiest(self.active, limit)

    @abc.abstractmethod
    async def delete(self, session_id: str) -> bool:
        """Erase a session, even an empty one: running and queued turns end with it. Returns whether it existed."""

    # Orders of operators, to every process of a deployment.

    @abc.abstractmethod
    async def publish_order(self, order: Order) -> None:
        """Send an order to every process that is listening at that moment; none receives it twice.

        A process whose connection to the store is broken at that moment misses it without a trace.

        Raises:
            StoreUnavailable: the store did not accept it, or its reply was lost.
        """

    @abc.abstractmethod
    async def listen_for_orders(self, follow: Callable[[Order], None]) -> None:
        """Call ``follow`` with each order until ``close``; return once orders reach this process.

        Args:
            follow: must neither raise nor wait.
        """

    # Groups and channels: messages are dicts of any content.

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel: str = await self._channels.new_channel(prefix)
        return channel

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self._channels.send(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        message: dict[str, Any] = await self._channels.receive(channel)
        return message

    async def group_add(self, group: str, channel: str) -> None:
        await self._channels.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._channels.group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._channels.group_send(group, message)

    # Life.

    async def start(self) -> None:
        """Connect; called once for each event loop, before anything else."""

    async def check(self) -> None:
        """Check whether every store can do what turns need, and has room for one more session.

        Raises:
            StoreUnavailable: one cannot, or did not answer in time; ``reason`` gives the reason, if that is known.
        """

    async def check_announcements(self) -> None:
        """Announce something to this process, on the connections of all announcements; return when it arrived.

        Raises:
            StoreUnavailable: a store did not accept it.
        """

    async def close(self) -> None:
        """Close connections and end tasks; stored sessions stay."""
