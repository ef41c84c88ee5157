"""Where the memory layer finds its sessions: four shelves, each in order of time, so that no call searches."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.memory_session import MemorySession, TurnRecord

_NO_ROOM: Final = "there are as many sessions as may be (MAX_SESSIONS), and each has work or a viewer"


class Shelves:
    """All sessions of one layer, bounded in number and age.

    ``idle``: no turn, no queue, no viewer, least recently used first. ``watched``: the same, but with viewers when it
    was last used. ``waiting``: work, but nobody runs it. ``leased``: a turn is running; the lease that expires first
    is first, because all last equally long.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._sessions: dict[str, MemorySession] = {}
        self._idle: OrderedDict[str, MemorySession] = OrderedDict()
        self._watched: OrderedDict[str, MemorySession] = OrderedDict()
        self._waiting: OrderedDict[str, MemorySession] = OrderedDict()
        self._leased: OrderedDict[str, MemorySession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, session_id: str) -> MemorySession | None:
        """Look a session up; one that nobody used for ``ttl_seconds`` is gone."""
        self._forget_expired()
        return self._sessions.get(session_id)

    def known(self, session_id: str) -> MemorySession | None:
        """Look a session up that is in use, as each token does: without a look at what has expired."""
        return self._sessions.get(session_id)

    def open(self, session_id: str) -> MemorySession:
        """Look a session up, or begin it.

        Raises:
            StoreUnavailable: there are ``max_sessions``, and each has work or a viewer.
        """
        session = self.find(session_id)
        if session is None:
            self._make_room()
            session = MemorySession(session_id, self._bounds, self._clock)
            self._sessions[session_id] = session
            self._idle[session_id] = session
        return session

    def settle(self, session: MemorySession) -> None:
        """Put a session that was used where it belongs now."""
        session.touched_at = self._clock()
        if session.running is not None:
            return  # it stands where its lease put it
        self._take(session)
        shelf = self._waiting if session.queue else self._watched if len(session.viewers) else self._idle
        shelf[session.session_id] = session

    def lease(self, session: MemorySession, record: TurnRecord) -> None:
        """Let a turn's lease run from now."""
        now = self._clock()
        session.touched_at = now
        record.lease_expires_at = now + self._bounds.lease_seconds
        if session.session_id not in self._leased:
            self._take(session)
            self._leased[session.session_id] = session
        self._leased.move_to_end(session.session_id)

    def pending(self, limit: int) -> list[str]:
        """Name sessions that have work and no live lease, the one that waits longest first."""
        now = self._clock()
        names: list[str] = []
        for session_id, session in self._leased.items():
            if len(names) == limit or session.running is None or session.running.lease_expires_at > now:
                break
            names.append(session_id)
        names.extend(islice(self._waiting, limit - len(names)))
        return names

    def page(self, after: str, limit: int) -> list[MemorySession]:
        """Give sessions by name, those after ``after``; for people, so it may look at all of them."""
        self._forget_expired()
        names = heapq.nsmallest(limit, (name for name in self._sessions if name > after))
        return [self._sessions[name] for name in names]

    def remove(self, session: MemorySession) -> None:
        """Take a session out for good."""
        self._take(session)
        del self._sessions[session.session_id]

    def _take(self, session: MemorySession) -> None:
        for shelf in (self._idle, self._watched, self._waiting, self._leased):
            shelf.pop(session.session_id, None)

    def _forget_expired(self) -> None:
        for shelf in (self._idle, self._watched):
            while (session := _first(shelf, unused_since=self._clock() - self._bounds.ttl_seconds)) is not None:
                self._forget(session)

    def check_room(self) -> None:
        """See whether one more session could be begun; what would have to go for it stays.

        Raises:
            StoreUnavailable: as in ``open``.
        """
        self._forget_expired()
        self._next_to_forget()

    def _make_room(self) -> None:
        session = self._next_to_forget()
        if session is not None:
            self._forget(session)

    def _next_to_forget(self) -> MemorySession | None:
        """Give the session that makes room for another; ``None``: there is room."""
        if len(self._sessions) < self._bounds.max_sessions:
            return None
        # A watched session never makes room: its viewers would begin it anew at once, in place of another one.
        lapsed = self._clock() - self._bounds.viewer_seconds
        session = _first(self._idle, unused_since=self._clock()) or _first(self._watched, unused_since=lapsed)
        if session is None:
            raise StoreUnavailable(_NO_ROOM)
        return session

    def _forget(self, session: MemorySession) -> None:
        self.remove(session)
        session.forget()


def _first(shelf: OrderedDict[str, MemorySession], *, unused_since: float) -> MemorySession | None:
    session = next(iter(shelf.values()), None)
    return session if session is not None and session.touched_at <= unused_since else None
