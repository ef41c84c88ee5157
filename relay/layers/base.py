"""The contract of a session layer: a Channels channel layer with one extension, ``"sessions"``.

Every call is atomic and **may be repeated after a lost reply without a second effect**. Every write of a turn presents
its lease; a lease is lost only when another worker has claimed the session, so an owner that is merely late writes
on. Two workers never write one turn, and a turn never gets two ends.

An **empty** session is one that is watched while no message was accepted in it yet. It has an epoch, which is that of
its first frame to come, and perhaps an owner. It is kept by its viewers alone: it ends when the last one detaches, or
``VIEWER_SECONDS`` after the last call that attached one (or that looked at an unknown session). It is no session to
``active`` and ``pending``, never takes another session's room, and is bounded in number. ``enqueue`` and ``reset``
make it a session like any other.

Cancelling a call (``asyncio``) leaves it done or not done, never half done: repeat it to know.

A session belongs to the first ``subject`` that attaches to it, or that sends a message, cancels or reads in it. Each of
these calls checks the owner in the same step in which it acts, because a session may be deleted, and be another
subject's by the next call. The subject ``None`` (a service, or a client that is not told apart) is not checked, and
owns nothing.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar, Final, TypeAlias

from channels.layers import BaseChannelLayer

from relay.layers.live import FrameSink
from relay.layers.values import (
    Accepted,
    CancelAck,
    NewNotification,
    NewTurn,
    Notification,
    Rate,
    SessionState,
    Turn,
)
from relay.protocol.cursor import Cursor
from relay.protocol.frames import Frame

EXTENSION: Final = "sessions"

Order: TypeAlias = dict[str, str | None]
"""An operator's order to every process: texts by name."""


class SessionLayer(BaseChannelLayer, abc.ABC):  # type: ignore[misc]  # Channels has no types
    """Sessions: queue, lease, log and state of each, beside the groups and channels of Channels.

    Args:
        channels: carries the groups and channels.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush", EXTENSION]
    survives_process: ClassVar[bool] = True  # may another process go on where this one ended?
    limits: Limits  # rates, and things that may be used once
    outbox: Outbox  # notifications of ended turns

    def __init__(self, channels: BaseChannelLayer) -> None:
        super().__init__()
        self._channels = channels

    # Turns: from a client's message to its terminal frame.

    @abc.abstractmethod
    async def enqueue(self, session_id: str, new_turn: NewTurn) -> Accepted:
        """Store a message in the session's queue, which starts the session; write no frame.

        A known ``client_message_id`` is looked up first: the same message is a duplicate, and its turn is returned.
        The questions that the message answers are settled in the same step. Each is open again if the turn ends
        without having reached the agent: cancelled in the queue, or ``upstream_unavailable``.

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

        Gives the abandoned turn if there is one, else the queue's head, whose ``user_message`` frame is appended, and
        a ``pending_resolved`` frame for each question that it answers; ``None`` if there is neither, or another worker
        holds the lease. ``claim_id``, random, becomes the lease.
        """

    @abc.abstractmethod
    async def append(self, turn: Turn, frames: list[Frame]) -> int:
        """Append frames under the turn's lease, extend it, announce them. Repeat with the same frames.

        A question to a person among the frames (``CallFrame``) becomes one of the session in the same step. It waits
        for ``question_seconds``, and keeps the session as long; a ``tool_result`` of the agent settles it, too.

        Returns:
            The offset of the last of them.

        Raises:
            LeaseLost: another worker has the session, the session is gone, or the store has lost appends that it had
                confirmed.
            TurnCancelled: nothing was stored; call ``finish``.
        """

    @abc.abstractmethod
    def append_nowait(self, turn: Turn, frames: list[Frame], stored: Callable[[], None]) -> bool:
        """Start to append frames without waiting, so that a token wakes no task.

        A failure of this append is raised by the turn's next ``append`` or ``wait_appended``.

        Args:
            frames: at least one.
            stored: is called once the frames are in the log, perhaps within this call.

        Returns:
            Whether the append was started. If not, nothing has happened: ``append`` stores the frames, or raises why
            it cannot.
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

        Args:
            notification: goes into the outbox once, however often the call is repeated.

        Returns:
            The terminal that is stored: of a cancelled turn ``cancelled``, whatever was asked.

        Raises:
            LeaseLost: another worker has the session, the session is gone, or the store has lost appends that it had
                confirmed: half an answer gets no end that makes it look whole.
        """

    @abc.abstractmethod
    async def renew(self, turn: Turn) -> None:
        """Extend the lease by ``LEASE_SECONDS`` from now.

        Raises:
            LeaseLost: another worker has the session, or the session is gone.
            TurnCancelled: the turn was cancelled; the lease was extended all the same.
        """

    @abc.abstractmethod
    async def wait_cancelled(self, turn: Turn) -> None:
        """Return when the turn may have been cancelled, or its session is gone. A hint: ``renew`` tells."""

    @abc.abstractmethod
    async def cancel(self, session_id: str, turn_id: str | None = None, subject: str | None = None) -> CancelAck:
        """Mark a turn cancelled and announce it; without ``turn_id`` the one in flight, else the queue's head.

        Raises:
            NotOwner: the session belongs to another subject.
        """

    @abc.abstractmethod
    async def cancel_unwatched(self, session_id: str) -> int:
        """Cancel the running and queued turns that are not detached, if no viewer is attached. Returns how many."""

    @abc.abstractmethod
    async def reset(self, turn: Turn, text: str, notification: NewNotification | None = None) -> Frame:
        """Start a new epoch, which becomes the turn's, after the store forgot the log.

        It has the turn's text so far, ended with ``buffer_lost``.

        Args:
            text: escaped, as between the quotes of a JSON string.
            notification: as in ``finish``.

        Returns:
            The terminal that is stored.

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
        """Give at most ``limit`` frames after a position; an empty list at the newest.

        Raises:
            NotOwner: the session belongs to another subject.
            ReplayGap: the position is of another epoch, beyond the newest, or frames after it are gone; or the session
                did not exist, and was created as an empty one.
        """

    @abc.abstractmethod
    def tail(
        self, session_id: str, after: Cursor, sink: FrameSink | None = None, subject: str | None = None
    ) -> AsyncGenerator[list[Frame], None]:
        """Give the frames after a position, then each new one, in batches: never a hole, never a duplicate.

        Args:
            sink: receives frames while the iterator waits; the iterator does not give frames that it accepts.

        Raises:
            NotOwner, ReplayGap: as in ``read``; after a gap, start again behind the snapshot.
            SessionDeleted: the session was erased.
        """

    # Sessions.

    @abc.abstractmethod
    async def attach(self, session_id: str, viewer: str, subject: str | None = None) -> int:
        """Enter a viewer, or keep it entered: an entry lasts ``VIEWER_SECONDS`` after the last call.

        Returns:
            How many viewers are attached, this one included.

        Raises:
            NotOwner: the session belongs to another subject.
            StoreUnavailable: there is no room for one more session, or for one more empty one.
        """

    @abc.abstractmethod
    async def detach(self, session_id: str, viewer: str) -> int:
        """Take a viewer out; an empty session ends with its last one. Returns how many are left."""

    @abc.abstractmethod
    async def ensure(self, session_id: str, subject: str | None = None) -> SessionState:
        """Describe a session; one that does not exist is created as an empty one, for a viewer that is about to attach.

        Raises:
            NotOwner: the session belongs to another subject.
            StoreUnavailable: there is no room for one more session, or for one more empty one.
        """

    @abc.abstractmethod
    async def get(self, session_id: str, subject: str | None = None) -> SessionState | None:
        """Describe a session, also an empty one; ``None`` if there is none. Unlike ``ensure`` it creates nothing.

        Raises:
            NotOwner: the session belongs to another subject.
        """

    @abc.abstractmethod
    async def active(self, cursor: str, limit: int) -> tuple[list[SessionState], str]:
        """List sessions but the empty ones, a page a call. ``""`` starts, and is returned with the last page."""

    @abc.abstractmethod
    async def delete(self, session_id: str) -> bool:
        """Erase a session, also an empty one: running and queued turns end with it. Returns whether it existed."""

    # Orders of operators, to every process of a deployment.

    @abc.abstractmethod
    async def publish_order(self, order: Order) -> None:
        """Send an order to every process that listens at that moment; none hears it twice.

        A process whose connection to the store is broken at that moment misses it without a trace.

        Raises:
            StoreUnavailable: the store did not take it, or its reply was lost.
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
        """See whether every store does what turns need, and has room for one more session.

        Raises:
            StoreUnavailable: one has not, or did not answer in time; ``reason`` says why, if that is known.
        """

    async def check_announcements(self) -> None:
        """Announce something to this process itself, on the connections of all announcements; return once it arrived.

        Raises:
            StoreUnavailable: a store did not take it.
        """

    async def close(self) -> None:
        """Close connections and end tasks; stored sessions stay."""


class Limits(abc.ABC):
    """Keeps rates, and marks things that may be used once; they belong to no session."""

    @abc.abstractmethod
    async def take(self, key: str, rate: Rate) -> float:
        """Take one from a token bucket. Returns 0, or the seconds after which there will be one."""

    @abc.abstractmethod
    async def use_once(self, key: str, ttl_seconds: float, purpose: str = "") -> bool:
        """Say whether this is the first use of ``key`` within ``ttl_seconds``; the first one's purpose is kept."""

    @abc.abstractmethod
    async def used_for(self, key: str) -> str | None:
        """Give the purpose of the use of ``key``, as long as it counts; ``None``: it is not used."""


class Outbox(abc.ABC):
    """Notifications of ended turns, each kept until a worker that has sent it removes it.

    ``SessionLayer.finish`` and ``reset`` put them there. The number is bounded: a notification without room is
    counted and logged, and the turn ends all the same. ``SessionLayer.delete`` erases those of the session.
    """

    @abc.abstractmethod
    async def take(self, limit: int, lease_seconds: float, ahead_seconds: float = 0) -> list[Notification]:
        """Take at most ``limit`` notifications that are due, the one that waits longest first.

        Each is due again after ``lease_seconds``, so one whose worker dies goes to another; it may then be sent twice.

        Args:
            ahead_seconds: take also those that will be due within so long.
        """

    @abc.abstractmethod
    async def remove(self, notification: Notification) -> None:
        """Take a notification out for good."""

    @abc.abstractmethod
    async def postpone(self, notification: Notification, seconds: float) -> None:
        """Make a notification due after so many seconds; one that was removed stays removed."""
