"""The epoch of a session's log, as far as the store itself has named it. Pure.

An announcement of another epoch raises a doubt, which the next read of the log settles: either the log has started
again under that epoch, or the announcement was foreign, sent by another deployment or by mistake. It was foreign if the
store names the same epoch after the announcement as before. A new epoch proves nothing: the log may have started again
twice, and the second announcement may still be on its way.
"""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """The state when the log was read: which version, and which announced epoch was in doubt."""

    version: int
    doubtful: str | None


class LogEpoch:
    """One log's epoch. ``known``: as the store has named it; ``None`` while only a read of the log can tell."""

    __slots__ = ("_doubtful", "_foreign", "_former", "_last", "_version", "known")

    def __init__(self) -> None:
        self._version = 0  # counts the changes
        self.forget()

    def forget(self) -> None:
        """Forget every epoch: announcements were missed, and the store may have lost data."""
        self._last: str | None = None  # known last
        self._former: str | None = None  # known before that
        self._doubtful: str | None = None  # announced; perhaps the log's
        self._foreign: str | None = None  # announced, and not the log's
        self.lose()

    def lose(self) -> None:
        """Treat the epoch as unknown until the store names it again."""
        self.known: str | None = None
        self._version += 1

    def confirm(self, epoch: str) -> None:
        """Set the epoch that the store has named. A new one settles the doubt: it proves no announcement foreign."""
        if epoch != self._last:
            self._former, self._last = self._last, epoch
            self._doubtful = None
        self.known = epoch
        self._version += 1

    def doubt(self, epoch: str) -> None:
        """Note that an epoch was announced which is not known to be the log's."""
        if epoch != self._doubtful or self.known is not None:
            self._doubtful = epoch
            self.lose()

    def question(self) -> Question:
        """Return the state to compare the log's answer with; call it before the log is read."""
        return Question(self._version, self._doubtful)

    def answer(self, question: Question, epoch: str) -> bool:
        """Set the epoch that a read has named. Returns whether the announcement in doubt turns out to be foreign."""
        if question.version == self._version and epoch != self.known:
            self.confirm(epoch)
        doubtful = question.doubtful
        if doubtful is None or doubtful != self._doubtful or epoch != self._last:
            return False
        self._doubtful = None
        if doubtful == epoch:
            return False
        self._foreign = doubtful
        return True

    def is_former(self, epoch: str) -> bool:
        """Is it the epoch before the known one? Its announcements come late."""
        return epoch == self._former

    def is_foreign(self, epoch: str) -> bool:
        """Has a read of the log shown already that it is foreign?"""
        return epoch == self._foreign
