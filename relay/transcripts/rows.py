"""Ended turns as rows of the database. Its functions block, so they are called in a thread."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import DatabaseError, connection
from django.db.models import Q

from relay.layers.values import message_text
from relay.models import MAX_SUBJECT_CHARACTERS, Turn
from relay.protocol import json_text
from relay.protocol.frames import ANSWERED

WORKER: Final = f"{socket.gethostname()}:{os.getpid()}"


class EndedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """An ended turn, as the runner hands it over.

    Attributes:
        message: the client's message, as it was sent to the agent. Any JSON.
        answer: its text, as it stands between the quotes of a JSON string.
        reason: ``answered``, ``cancelled``, or the code of the error.
        error: why it failed, in words for operators; empty if it did not.
        upstream_status: the status of the agent's HTTP response to a turn that failed; ``None`` if there was none.
        input_tokens, output_tokens: as the agent reports them; ``None`` if it does not.
        tokens, started_at, duration_seconds: ``None`` if the worker that ran the turn died.
    """

    turn_id: str
    session_id: str
    subject: str | None
    message: dict[str, Any]
    answer: str
    reason: str
    tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    error: str = ""
    upstream_status: int | None = None
    first_token_seconds: float | None
    duration_seconds: float | None
    started_at: datetime | None
    ended_at: datetime


class KeptTurn(msgspec.Struct, frozen=True, kw_only=True):
    """An ended turn, as its session's history has it.

    Attributes:
        message: its content; of a forwarded kind the whole message as JSON.
        answer: as far as it came.
        reason: ``answered``, ``cancelled``, or the code of the error.
    """

    turn_id: str
    message: str
    answer: str
    reason: str

    @property
    def characters(self) -> int:
        """How many its texts have."""
        return len(self.message) + len(self.answer)


def newest(session_id: str, owner: str | None, limit: int) -> list[KeptTurn]:
    """Read a session's last turns, the oldest first, less those that have no text and no answer.

    Sessions end, and another subject may open one of the same name: turns of other subjects are not read.

    Raises:
        DatabaseError: they cannot be read.
    """
    found = Turn.objects.filter(session_id=session_id, subject__in={"", _subject(owner)})
    spoken = found.filter(~Q(answer="") | Q(reason=ANSWERED)).order_by("-ended_at", "-id")
    rows = spoken.values_list("turn_id", "message", "answer", "reason")[:limit]
    return [KeptTurn(turn_id=name, message=said, answer=text, reason=end) for name, said, text, end in rows][::-1]


def write(turns: list[EndedTurn]) -> None:
    """Write turns in one transaction; a turn that is stored already stays as it is.

    Raises:
        DatabaseError: nothing was written.
    """
    Turn.objects.bulk_create([Turn(**_row(turn)) for turn in turns], ignore_conflicts=True)


def erase(session_id: str, before: datetime) -> int:
    """Erase a session's ended turns. Returns how many there were.

    Raises:
        DatabaseError: nothing was erased.
    """
    try:
        return Turn.objects.filter(session_id=session_id, ended_at__lte=before).delete()[0]
    except DatabaseError:
        connection.close()
        if has_table():
            raise
        return 0  # no transcript was ever kept


def has_table() -> bool:
    """Is the database migrated? One that does not answer counts as migrated."""
    try:
        return Turn._meta.db_table in connection.introspection.table_names()
    except DatabaseError:
        connection.close()
        return True


def _row(turn: EndedTurn) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(turn),
        "subject": _subject(turn.subject),
        "message": clean(message_text(turn.message)),
        "answer": clean(json_text.decode(f'"{turn.answer}"')),
        "error": clean(turn.error),
        "worker": WORKER,
    }


def _subject(subject: str | None) -> str:
    return clean(subject or "")[:MAX_SUBJECT_CHARACTERS]


def clean(text: str) -> str:
    """Join halves of characters; replace lone halves and the null character, which no database and few agents take."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
