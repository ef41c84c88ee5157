"""An agent's run, as far as an answer was read from it: where a broken answer continues, exactly. Pure.

An agent names its events by cursors. A cursor that is a whole number counts the events of its run, so that a hole is
seen; two numbers with a hyphen between them (``1764403200000-2``, of a Redis stream) only grow; any other cursor is
only compared with those that were read.
"""

from __future__ import annotations

from array import array
from typing import Final

from relay.layers.values import MAX_CURSOR_CHARACTERS, MAX_RUN_CHARACTERS, AgentPosition

_MAX_DIGITS: Final = 18


class RunLost(Exception):
    """The run cannot continue where the answer is: events are missing, or it says something else."""


class Run:
    """One run.

    Args:
        name: the agent's for it; empty: the first event's cursor names it.
        is_read_anywhere: can a new reader start behind any event? Otherwise it reads the run from its start, and drops
            the frames that are in the log.

    Attributes:
        seen: the cursor of the last event that was read; empty before the first.
        is_checking: was the run rejoined, so that events may come that were read before?
    """

    __slots__ = (
        "_first",
        "_frames",
        "_has_new",
        "_hashes",
        "_is_read_anywhere",
        "_is_replaying",
        "_is_taken_over",
        "_known",
        "_name",
        "_start",
        "is_checking",
        "seen",
    )

    def __init__(self, name: str = "", *, is_read_anywhere: bool = False) -> None:
        self.seen = ""
        self.is_checking = False
        self._name = name
        self._is_read_anywhere = is_read_anywhere
        self._first = ""
        self._is_replaying = False  # do events come again that were read?
        self._has_new = False  # has one come, since the run was rejoined, that was not read before?
        self._is_taken_over = False
        self._hashes = array("q")  # the hashes of the cursors that were read: eight bytes for each event
        self._known: set[int] = set()  # the same, while events are checked
        self._start = ""  # a new reader starts behind it
        self._frames = 0  # made of what follows it

    @classmethod
    def taken_over(cls, position: AgentPosition, *, is_read_anywhere: bool = False) -> Run:
        """Return the run of an answer that another worker has read so far."""
        run = cls(position.run, is_read_anywhere=is_read_anywhere)
        run._first = position.run if is_read_anywhere else ""
        run.seen = run._start = position.cursor
        run._is_taken_over = True
        run._hashes.extend({hash(run._first), hash(run.seen)})
        return run

    @property
    def name(self) -> str:
        """The agent's name for it."""
        return self._name or self._first

    @property
    def is_behind(self) -> bool:
        """Must events come again, now that the run was rejoined, that have not come yet?"""
        return False

    @property
    def position(self) -> AgentPosition | None:
        """Where another reader continues: before the last event, once the answer is over."""
        return AgentPosition(self._name or self._first, self._start, self._frames)

    def read(self, cursor: str, data: str, frames: int, *, is_last: bool = False) -> bool:
        """Note an event that was read, and how many frames it gave; ``is_last``: the last of them is terminal.

        Returns:
            Whether the run can still be rejoined: every event needs a cursor of its own.
        """
        if not cursor or cursor == self.seen or len(cursor) > MAX_CURSOR_CHARACTERS:
            return False
        if is_last:
            self._frames += frames - 1
            return True
        self.seen = cursor
        self._first = self._first or cursor
        self._hashes.append(hash(cursor))
        if self.is_checking:
            self._known.add(hash(cursor))
        if self._is_read_anywhere:
            self._start, self._frames = cursor, 0
        else:
            self._frames += frames
        return True

    def rejoin(self) -> None:
        """Check the events that come next: the agent may send again what was read."""
        self.is_checking = True
        self._is_replaying = self._has_new = False
        self._known = set(self._hashes)

    def is_known(self, cursor: str, data: str) -> bool:
        """Was an event of the rejoined run read before? Only asked while ``is_checking``.

        Raises:
            RunLost: it has no cursor, or events are missing between the last one that was read and this one, or it was
                read before others that have come since.
        """
        if not cursor:
            raise RunLost
        if cursor == self.seen:
            self._is_replaying = False
            return True
        place, seen = _place(cursor), _place(self.seen)
        if place is not None and (seen is None or len(place) == len(seen)) and (seen is not None or not self.seen):
            if len(place) == 1 and place > ((seen[0] if seen else 0) + 1,):
                raise RunLost
            return seen is not None and place <= seen  # and continue checking: some servers send an event twice
        return self._is_known_by_name(cursor)

    def _is_known_by_name(self, cursor: str) -> bool:
        is_known = hash(cursor) in self._known
        if self._is_replaying:  # up to the last one that was read
            if not is_known and not self._is_taken_over:
                raise RunLost
            return True
        if is_known and self._has_new:
            raise RunLost
        self._is_replaying, self._has_new = is_known, not is_known
        return is_known


class SharedRun(Run):
    """A run of which neighbouring events may have the same cursor, as those of one millisecond do (seen in LangGraph's
    server without Redis). Such events are told apart by their data.

    It is rejoined before its last cursor, so that the events of that one come again, and show that none is missing.

    Args:
        has_start: can it be rejoined before its first event?

    Attributes:
        before: the cursor before ``seen``.
    """

    __slots__ = ("_group", "_has_start", "_matched", "before")

    def __init__(self, name: str = "", *, has_start: bool = True) -> None:
        super().__init__(name)
        self.before = ""
        self._has_start = has_start
        self._group: list[str] = []  # the data of the events that had the last cursor
        self._matched = 0  # how many of them have come again

    def read(self, cursor: str, data: str, frames: int, *, is_last: bool = False) -> bool:
        """See ``Run``."""
        if cursor and cursor == self.seen:
            self._group.append(data)
            self._matched += 1
            self._frames += frames - is_last
            return True
        before = self.seen
        if not super().read(cursor, data, frames, is_last=is_last):
            return False
        self.before, self._group, self._matched = before, [data], 1
        return True

    def rejoin(self) -> None:
        """See ``Run``."""
        super().rejoin()
        self._matched = 0

    @property
    def is_behind(self) -> bool:
        """See ``Run``."""
        return self._matched < len(self._group) and (self.before != "" or self._has_start)

    def is_known(self, cursor: str, data: str) -> bool:
        """See ``Run``."""
        if not cursor or cursor != self.seen:
            is_known = super().is_known(cursor, data)
            if not is_known and self.is_behind:
                raise RunLost
            return is_known
        if self._matched == len(self._group):
            return data in self._group
        if data != self._group[self._matched]:
            raise RunLost
        self._matched += 1
        self._is_replaying = False
        return True


class LocalRun(SharedRun):
    """A run that only the reader that has read so far can continue with: nothing gives it out from its start."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(has_start=False)

    @property
    def position(self) -> None:
        """See ``Run``."""
        return None


class UncountedRun(Run):
    """A run whose events have no cursors: when it is rejoined, its agent sends all of it again, as one snapshot."""

    __slots__ = ("_events",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._events = 0

    @property
    def position(self) -> AgentPosition:
        """See ``Run``."""
        return AgentPosition(self._name)

    def read(self, cursor: str, data: str, frames: int, *, is_last: bool = False) -> bool:
        """See ``Run``."""
        self._events += frames > 0  # a snapshot without anything new is no news
        self.seen = str(self._events)
        return True

    def rejoin(self) -> None:
        """See ``Run``: there is nothing to check."""


class MarkedRun(Run):
    """A run that says itself where another reader can start: behind the frames that it marks, and no others."""

    __slots__ = ("cursor",)

    def __init__(self, cursor: str | None = None) -> None:
        super().__init__()
        self.cursor = cursor

    @property
    def position(self) -> AgentPosition | None:
        """See ``Run``."""
        return None if self.cursor is None else AgentPosition("", self.cursor)


def is_later(cursor: str, seen: str) -> bool:
    """Can a cursor follow another one? Numbers grow; others only differ."""
    place, place_seen = _place(cursor), _place(seen)
    if place is None or place_seen is None or len(place) != len(place_seen):
        return cursor != seen
    return place > place_seen


def is_run_name(name: str) -> bool:
    """Can a run of this name be kept?"""
    return 0 < len(name) <= MAX_RUN_CHARACTERS and name.isprintable()


def _place(cursor: str) -> tuple[int, ...] | None:
    """Return an event's place in its run: ``(5,)`` for a count, ``(1764, 2)`` for ``1764-2``; ``None``: not known."""
    numbers = cursor.split("-")
    if len(numbers) > 2 or not all(part.isascii() and part.isdigit() and len(part) <= _MAX_DIGITS for part in numbers):
        return None
    return tuple(map(int, numbers))
