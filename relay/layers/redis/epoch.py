"""Which epoch a session's log has, as far as the store itself has said so. Pure.

An announcement of another epoch raises a doubt, which the next read of the log settles: either the log has started
again under that epoch, or the announcement was foreign, sent by another deployment or by mistake.
"""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """What was known when the log was asked."""

    version: int
    doubtful: str | None


class LogEpoch:
    """What is known of one log's epoch: ``known`` is what the store has named, ``None`` while it must be asked."""

    __slots__ = ("_doubtful", "_foreign", "_former", "_last", "_version", "known")

    def __init__(self) -> None:
        self._version = 0  # counts the changes
        self.forget()

    def forget(self) -> None:
        """Know nothing: announcements were missed, and the store may have lost data."""
        self._last: str | None = None  # what was known last
        self._former: str | None = None  # what was known before that
        self._doubtful: str | None = None  # announced; whether it is the log's is not known yet
        self._foreign: str | None = None  # announced, and not the log's
        self.lose()

    def lose(self) -> None:
        """Know the epoch no longer, until the store names it again."""
        self.known: str | None = None
        self._version += 1

    def confirm(self, epoch: str) -> None:
        """Take the store's word."""
        if epoch != self._last:
            self._former, self._last = self._last, epoch
        self.known = epoch
        self._version += 1

    def doubt(self, epoch: str) -> None:
        """Take note that an epoch was announced that is not known as the log's."""
        if epoch != self._doubtful or self.known is not None:
            self._doubtful = epoch
            self.lose()

    def question(self) -> Question:
        """Give what the log's answer has to be compared with; to be called before the log is asked."""
        return Question(self._version, self._doubtful)

    def answer(self, question: Question, epoch: str) -> bool:
        """Take the log's own epoch. Returns whether what was announced before it was asked turns out foreign."""
        if question.version == self._version and epoch != self.known:
            self.confirm(epoch)
        doubtful = question.doubtful
        if doubtful is None or doubtful == self._foreign:
            return False
        if self._doubtful == doubtful:
            self._doubtful = None
        if doubtful == epoch:
            return False
        self._foreign = doubtful
        return True

    def is_former(self, epoch: str) -> bool:
        """Is it the epoch before the known one? What was announced of it has come late."""
        return epoch == self._former

    def is_foreign(self, epoch: str) -> bool:
        """Has the log denied it already?"""
        return epoch == self._foreign
