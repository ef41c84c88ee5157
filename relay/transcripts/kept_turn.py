"""An ended turn as its session's history has it, whether it was read from the log or from the transcripts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from relay.protocol import json_text

OLD: Final = "-"  # before the id of a turn without a place, in a cursor: it sorts below every place
_OFFSET_DIGITS: Final = 15
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Bounds(NamedTuple):
    """How much of a history is read: turns, and the characters of their texts together."""

    turns: int
    characters: int

    def are_reached(self, turns: Sequence[KeptTurn]) -> bool:
        """Would an older turn be left out?"""
        return len(turns) >= self.turns or sum(turn.characters for turn in turns) >= self.characters


class KeptTurn(msgspec.Struct, frozen=True, kw_only=True):
    """An ended turn, as its session's history has it.

    Attributes:
        message: its content; of a forwarded kind the whole message as JSON.
        answer: as far as it came.
        reason: ``answered``, ``cancelled``, or the code of the error.
        place: orders the turns of a session; empty if an older version wrote it.
        subject: its sender; ``None`` if it is not known.
        finish_reason: of its final frame; ``error`` after an error.
        failure: why it failed, as clients were told; empty if it did not.
        events: JSON: an array of ``{"position": …, "event": …}``, in code points of the answer.
        events_left_out: how many are not in ``events``, for want of room.
        started_at, ended_at: ``None`` if they are not known: a log keeps no times.
    """

    turn_id: str
    message: str
    answer: str
    reason: str
    place: str = ""
    subject: str | None = None
    finish_reason: str = ""
    failure: str = ""
    events: str = "[]"
    events_left_out: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def characters(self) -> int:
        """How many its texts have."""
        return len(self.message) + len(self.answer)

    @property
    def order(self) -> tuple[str, datetime]:
        """Orders the turns of a session; of those without a place the time decides."""
        return self.place, self.ended_at or _NEVER

    @property
    def cursor(self) -> str:
        """The cursor of the turns before it."""
        return self.place or f"{OLD}{self.turn_id}"

    def fields(self) -> dict[str, Any]:
        """Return its members in a page of a history."""
        return {
            "turn_id": self.turn_id,
            "subject": self.subject,
            "message": self.message,
            "answer": self.answer,
            "finish_reason": self.finish_reason,
            "error": {"code": self.reason, "content": self.failure} if self.finish_reason == "error" else None,
            "events": json_text.decode(self.events),
            "events_left_out": self.events_left_out,
            "started_at": moment_text(self.started_at),
            "ended_at": moment_text(self.ended_at),
        }


def moment_text(moment: datetime | None) -> str | None:
    """Write a moment as clients get it (RFC 3339)."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Part(NamedTuple):
    """Turns out of one source, newest first; ``is_all``: the source has none before them."""

    turns: list[KeptTurn]
    is_all: bool


class Reader(msgspec.Struct, frozen=True):
    """The client that reads a history, or the agent for which it is read.

    Attributes:
        subject: ``None``: not known.
        is_service: may it read the turns of every subject?
    """

    subject: str | None
    is_service: bool = False


def place_of(epoch: str, offset: int) -> str:
    """Write the place of a turn in its session: the log's epoch, and the offset of the turn's last frame.

    Places compare as texts: epochs are named in the order of time (``layers.values.new_epoch``).
    """
    return f"{epoch}{offset:0{_OFFSET_DIGITS}}" if epoch else ""


def offset_of(place: str) -> int:
    """Read the offset of a place; 0 if it is none."""
    digits = place[-_OFFSET_DIGITS:]
    return int(digits) if digits.isdecimal() else 0
