"""The agent's questions in one session of the memory layer: bounded in number, size and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from relay.exceptions import AlreadyDecided
from relay.layers.bounds import Bounds
from relay.layers.values import Question, question_body
from relay.protocol.frames import CallFrame


class Decision(Protocol):
    """The turn that has settled a question; ``is_void``: it never reached the agent, so the question is open again."""

    is_void: bool


class _Entry(msgspec.Struct):
    call_id: str
    turn_id: str
    body: str
    expires_at: float
    decision: Decision | None = None

    def is_open(self, now: float) -> bool:
        return self.expires_at > now and (self.decision is None or self.decision.is_void)


class Questions:
    """A session's questions, oldest first; settled ones stay, so that a second answer is refused."""

    __slots__ = ("_bounds", "_clock", "_entries")

    def __init__(self, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._bounds = bounds
        self._clock = clock
        self._entries: list[_Entry] = []

    @property
    def are_open(self) -> bool:
        """Does any question wait for its answer?"""
        return bool(self._entries) and bool(self.open())

    def open(self) -> tuple[Question, ...]:
        """Return the questions that wait for an answer."""
        now = self._clock()
        return tuple(
            Question(entry.call_id, entry.turn_id, entry.body, entry.expires_at - now)
            for entry in self._entries
            if entry.is_open(now)
        )

    def note(self, frame: CallFrame, decision: Decision) -> None:
        """Take a question in, also one that is asked again; or settle it by the turn in which the call has ended."""
        known = self._find(frame.call_id)
        if not frame.is_question:
            if known is not None and known.is_open(self._clock()):
                known.decision = decision
            return
        if known is not None:
            self._entries.remove(known)
        body = question_body(frame, self._bounds.max_question_bytes)
        expires_at = self._clock() + self._bounds.question_seconds
        self._entries.append(_Entry(frame.call_id, frame.turn_id, body, expires_at))
        self._trim()

    def check(self, call_ids: Iterable[str]) -> None:
        """Refuse an answer to a question that is settled, or has expired; one that was never asked counts as open.

        Raises:
            AlreadyDecided: there is such a question.
        """
        now = self._clock()
        if any(entry is not None and not entry.is_open(now) for entry in map(self._find, call_ids)):
            raise AlreadyDecided

    def settle(self, call_ids: Iterable[str], decision: Decision) -> list[Question]:
        """Settle questions, and return those that there are."""
        found = [entry for entry in map(self._find, call_ids) if entry is not None]
        for entry in found:
            entry.decision = decision
        return [Question(entry.call_id, entry.turn_id, entry.body, 0.0) for entry in found]

    def _find(self, call_id: str) -> _Entry | None:
        return next((entry for entry in self._entries if entry.call_id == call_id), None)

    def _trim(self) -> None:
        size = sum(len(entry.body) for entry in self._entries)
        while len(self._entries) > self._bounds.max_questions or size > self._bounds.max_question_bytes:
            size -= len(self._entries.pop(0).body)
