"""Finds the memory layer's sessions: in six dicts, each ordered by time, so that no call searches."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Final

from relay.exceptions import StoreUnavailable
from relay.layers.bounds import Bounds
from relay.layers.memory.session import MemorySession, TurnRecord

_NO_ROOM: Final = "the limit of sessions is reached (MAX_SESSIONS), and each has work or a viewer"


class SessionIndex:
    """All sessions of one layer, bounded in number and age.

    ``empty``: no message was accepted yet; kept by its viewers, and counted apart. The others:
    ``idle``: no turn, no queue, no viewer, least recently used first. ``watched``: the same, but with viewers when it
    was last used. ``asking``: a question of the agent waits for a person, watched or not. ``waiting``: work, but no
    worker runs it. ``leased``: a turn is running; the lease that expires first is first, because all last equally long.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._sessions: dict[str, MemorySession] = {}
        self._empty: OrderedDict[str, MemorySession] = OrderedDict()
        self._idle: OrderedDict[str, MemorySession] = OrderedDict()
        self._watched: OrderedDict[str, MemorySession] = OrderedDict()
        self._asking: OrderedDict[str, MemorySession] = OrderedDict()
        self._waiting: OrderedDict[str, MemorySession] = OrderedDict()
        self._leased: OrderedDict[str, MemorySession] = OrderedDict()

    def __iter__(self) -> Iterator[MemorySession]:
        return iter(self._sessions.values())

    def get(self, session_id: str) -> MemorySession | None:
        """Look a session up; one that was not used for ``ttl_seconds``, or an empty one without viewers, is gone."""
        self.forget_expired()
        return self._sessions.get(session_id)

    def peek(self, session_id: str) -> MemorySession | None:
        """Look up a session that is in use; each token does. Expired sessions are not looked for."""
        return self._sessions.get(session_id)

    def get_or_create(self, session_id: str) -> MemorySession:
        """Look a session up, or create an empty one.

        Raises:
            StoreUnavailable: there are ``max_empty_sessions``, or ``max_sessions`` of which each has work or a viewer.
        """
        session = self.get(session_id)
        if session is None:
            if len(self._empty) >= self._bounds.max_empty_sessions or not self._has_room():
                raise StoreUnavailable
            session = self._sessions[session_id] = self._empty[session_id] = self.new(session_id)
        return session

    def new(self, session_id: str) -> MemorySession:
        """Make a session that is not kept yet: ``start`` keeps it."""
        return MemorySession(session_id, self._bounds, self._clock)

    def start(self, session: MemorySession) -> None:
        """Keep a session in which a message is accepted.

        Raises:
            StoreUnavailable: it is the first message, there are ``max_sessions``, and each has work or a viewer.
        """
        if session.is_empty:
            self._make_room()
            session.is_empty = False
            self._empty.pop(session.session_id, None)
            self._sessions[session.session_id] = self._idle[session.session_id] = session

    def reindex(self, session: MemorySession) -> None:
        """Move a session that was used to the dict in which it belongs now."""
        session.touched_at = self._clock()
        if session.running is not None:
            return  # ``lease`` has placed it
        self._take(session)
        self._shelf_of(session)[session.session_id] = session

    def lease(self, session: MemorySession, record: TurnRecord) -> None:
        """Start or extend a turn's lease: it runs from now."""
        now = self._clock()
        session.touched_at = now
        record.lease_expires_at = now + self._bounds.lease_seconds
        if session.session_id not in self._leased:
            self._take(session)
            self._leased[session.session_id] = session
        self._leased.move_to_end(session.session_id)

    def release(self, session: MemorySession, record: TurnRecord) -> None:
        """Let a turn's lease run out now."""
        record.lease_expires_at = self._clock()
        self._leased.move_to_end(session.session_id, last=False)

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
        """Return at most ``limit`` sessions after a name, in order. It looks at all sessions: for people only."""
        self.forget_expired()
        kept = (name for name, session in self._sessions.items() if name > after and not session.is_empty)
        names = heapq.nsmallest(limit, kept)
        return [self._sessions[name] for name in names]

    def busiest(self, limit: int) -> list[MemorySession]:
        """Return at most ``limit`` sessions: with a running turn, then with queued messages, then those last used."""
        self.forget_expired()
        unused = (reversed(shelf.values()) for shelf in (self._asking, self._watched, self._idle))
        last_used = heapq.merge(*unused, key=lambda session: -session.touched_at)
        return list(islice(chain(reversed(self._leased.values()), reversed(self._waiting.values()), last_used), limit))

    def remove(self, session: MemorySession) -> None:
        """Remove a session."""
        self._take(session)
        del self._sessions[session.session_id]

    def forget(self, session: MemorySession) -> None:
        """Remove a session that is unused, or makes room; a tail that is still open creates it again."""
        self.remove(session)
        session.forget()

    def _shelf_of(self, session: MemorySession) -> OrderedDict[str, MemorySession]:
        if session.is_empty:
            return self._empty
        if session.queue:
            return self._waiting
        if session.questions.are_open:
            return self._asking
        return self._watched if len(session.viewers) else self._idle

    def _take(self, session: MemorySession) -> None:
        for shelf in (self._empty, self._idle, self._watched, self._asking, self._waiting, self._leased):
            shelf.pop(session.session_id, None)

    def forget_expired(self) -> None:
        """Remove the sessions that were not used for ``ttl_seconds``, and the empty ones without viewers."""
        now, bounds = self._clock(), self._bounds
        expired, lapsed = now - bounds.ttl_seconds, now - bounds.viewer_seconds
        unasked = now - max(bounds.ttl_seconds, bounds.question_seconds)
        shelves = ((self._idle, expired), (self._watched, expired), (self._asking, unasked), (self._empty, lapsed))
        for shelf, unused_since in shelves:
            while (session := _first(shelf, unused_since=unused_since)) is not None:
                self.forget(session)

    def check_room(self) -> None:
        """See whether one more session could be created; no session is removed for it.

        Raises:
            StoreUnavailable: there are ``max_sessions``, and each has work or a viewer.
        """
        self.forget_expired()
        if not self._has_room():
            raise StoreUnavailable(_NO_ROOM)

    def _make_room(self) -> None:
        if not self._has_room():
            raise StoreUnavailable(_NO_ROOM)
        if self._is_full() and (session := self._dispensable()) is not None:
            self.forget(session)

    def _has_room(self) -> bool:
        return not self._is_full() or self._dispensable() is not None

    def _is_full(self) -> bool:
        return len(self._sessions) - len(self._empty) >= self._bounds.max_sessions

    def _dispensable(self) -> MemorySession | None:
        """Return the session that makes room first. A watched one never does: its viewers would reconnect at once."""
        now = self._clock()
        lapsed = now - self._bounds.viewer_seconds
        unwatched = _first(self._idle, unused_since=now) or _first(self._watched, unused_since=lapsed)
        return unwatched or _first(self._asking, unused_since=lapsed)


def _first(shelf: OrderedDict[str, MemorySession], *, unused_since: float) -> MemorySession | None:
    session = next(iter(shelf.values()), None)
    return session if session is not None and session.touched_at <= unused_since else None
