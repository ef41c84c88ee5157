"""Ended turns as rows of the database. Its functions block, so they are called in a thread."""

from __future__ import annotations

import functools
import os
import socket
from datetime import datetime
from typing import Any

import msgspec
from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Length

from relay.exceptions import RelayError
from relay.layers.values import message_text
from relay.models import MAX_FINISH_REASON_CHARACTERS, Conversation, Turn
from relay.protocol import json_text
from relay.protocol.frames import ANSWERED, CANCELLED
from relay.protocol.text import clean
from relay.transcripts import conversation_rows
from relay.transcripts.answer_parts import PlacedEvent, events_text
from relay.transcripts.conversation_rows import Note, subject_of
from relay.transcripts.kept_turn import OLD, Bounds, KeptTurn, Part, Reader


@functools.cache
def worker() -> str:
    """Name this process among those that write: the one that asks, not one that imported this module and forked."""
    return f"{socket.gethostname()}:{os.getpid()}"


class EndedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """An ended turn, as the runner hands it over.

    Attributes:
        message: the client's message, as it was sent to the agent. Any JSON.
        answer: its text, as it stands between the quotes of a JSON string.
        reason: ``answered``, ``cancelled``, or the code of the error.
        error: why it failed, in words for operators; empty if it did not.
        upstream_status: the status of the agent's HTTP response to a turn that failed; ``None`` if there was none.
        input_tokens, output_tokens: as the agent reports them; ``None`` if it does not.
        tokens, started_at, duration_seconds: ``None`` if the worker that ran the turn died, and no
            other continued it.
        owner: the subject that the session belonged to; ``None``: to no subject.
        place: orders the turns of a session: see ``place_of``.
        finish_reason: of its final frame; ``error`` after an error.
        failure: why it failed, as clients were told; empty if it did not.
        events: the agent's other events, with their places in the answer, as far as there was room.
        events_left_out: how many had no room.
        title: the session's title, if the agent named one in this turn.
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
    owner: str | None = None
    place: str = ""
    finish_reason: str = ""
    failure: str = ""
    events: tuple[PlacedEvent, ...] = ()
    events_left_out: int = 0
    title: str = ""

    @property
    def size(self) -> int:
        """How many characters it holds, about."""
        return len(self.answer) + sum(len(body) for _, body in self.events)


def page(session_id: str, reader: Reader, before: str, bounds: Bounds) -> Part:
    """Read a session's last turns before a cursor, until a bound is reached, but at least one.

    Raises:
        DatabaseError: they cannot be read.
    """
    found = _readable(session_id, reader)
    if before.startswith(OLD):
        found = _before_old(found, before.removeprefix(OLD))
    elif before:
        found = found.filter(place__lt=before)
    found = found.order_by("-place", "-ended_at", "-id")
    sizes = found.annotate(size=Length("message") + Length("answer") + Length("events")).values_list("pk", "size")
    chosen: list[int] = []
    characters = 0
    is_all = True
    for pk, size in sizes[: bounds.turns + 1]:
        is_all = len(chosen) < bounds.turns and characters <= bounds.characters
        if not is_all:
            break
        chosen.append(pk)
        characters += size
    rows = {row.pk: row for row in Turn.objects.filter(pk__in=chosen)}
    return Part([_kept(rows[pk]) for pk in chosen if pk in rows], is_all)


def has(session_id: str, place: str) -> bool:
    """Is the turn at a place written?

    Raises:
        DatabaseError: that cannot be told.
    """
    return Turn.objects.filter(session_id=session_id, place=place).exists()


def _readable(session_id: str, reader: Reader) -> QuerySet[Turn]:
    """Choose the turns of a session that a reader may see.

    Sessions end, and another subject may open one of the same name: turns of other subjects are not read, nor those of
    services in another subject's conversation.
    """
    found = Turn.objects.filter(session_id=session_id)
    if reader.is_service:
        return found
    subject = subject_of(reader.subject)
    is_own = conversation_rows.owner_of(session_id) in (None, "", subject)
    return found.filter(subject__in={subject, ""} if is_own else {subject} - {""})


def _before_old(found: QuerySet[Turn], turn_id: str) -> QuerySet[Turn]:
    """Choose the turns before one without a place, which an older version wrote."""
    row = found.filter(turn_id=turn_id).first()
    if row is None:
        return found.none()
    earlier = Q(ended_at__lt=row.ended_at) | Q(ended_at=row.ended_at, pk__lt=row.pk)
    return found.filter(earlier, place="")


def _kept(row: Turn) -> KeptTurn:
    finish_reason = row.finish_reason or {ANSWERED: "stop", CANCELLED: CANCELLED}.get(row.reason, "error")
    return KeptTurn(
        turn_id=row.turn_id,
        message=row.message,
        answer=row.answer,
        reason=row.reason,
        place=row.place,
        subject=row.subject or None,
        finish_reason=finish_reason,
        failure=row.failure or (str(RelayError()) if finish_reason == "error" else ""),
        events=row.events or "[]",
        events_left_out=row.events_left_out,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def newest(session_id: str, owner: str | None, limit: int) -> list[KeptTurn]:
    """Read a session's last turns, oldest first, less those that have no text and no answer.

    Raises:
        DatabaseError: they cannot be read.
    """
    found = _readable(session_id, Reader(owner))
    spoken = found.filter(~Q(answer="") | Q(reason=ANSWERED)).order_by("-ended_at", "-id")
    rows = spoken.values_list("turn_id", "message", "answer", "reason")[:limit]
    return [KeptTurn(turn_id=name, message=said, answer=text, reason=end) for name, said, text, end in rows][::-1]


def write(turns: list[EndedTurn]) -> None:
    """Write turns and their conversations in one transaction; a turn that is stored already stays as it is.

    Raises:
        DatabaseError: nothing was written.
    """
    with transaction.atomic():
        Turn.objects.bulk_create([Turn(**_row(turn)) for turn in turns], ignore_conflicts=True)
        conversation_rows.note([_note(turn) for turn in turns])


def erase(session_id: str, before: datetime) -> int:
    """Erase a session's ended turns and its conversation. Returns how many rows there were.

    Raises:
        DatabaseError: nothing was erased.
    """
    try:
        turns = Turn.objects.filter(session_id=session_id, ended_at__lte=before).delete()[0]
        return turns + Conversation.objects.filter(session_id=session_id, updated__lte=before).delete()[0]
    except DatabaseError:
        connection.close()
        if has_table():
            raise
        return 0  # no transcript was ever kept


def prune(before: datetime, most: int) -> int:
    """Erase turns that ended before a moment, and then conversations that were last used before it.

    Returns:
        How many rows; at most ``most``, and 0 if none is left.

    Raises:
        DatabaseError: nothing was erased.
    """
    old = (Turn.objects.filter(ended_at__lt=before), Conversation.objects.filter(updated__lt=before))
    return next((count for found in old if (count := erase_some(found, most))), 0)


def erase_some(found: QuerySet[Any], most: int) -> int:  # Any: of either table
    """Erase at most so many rows of those found. Returns how many."""
    names = list(found.order_by().values_list("pk", flat=True)[:most])
    return found.model.objects.filter(pk__in=names).delete()[0] if names else 0


def has_table() -> bool:
    """Is the database migrated? One that does not answer counts as migrated."""
    try:
        return Turn._meta.db_table in connection.introspection.table_names()
    except DatabaseError:
        connection.close()
        return True


def _row(turn: EndedTurn) -> dict[str, Any]:
    fields = msgspec.structs.asdict(turn)
    del fields["owner"], fields["title"]
    return {
        **fields,
        "subject": subject_of(turn.subject),
        "message": clean(message_text(turn.message)),
        "answer": clean(json_text.decode(f'"{turn.answer}"')),
        "error": clean(turn.error),
        "finish_reason": clean(turn.finish_reason)[:MAX_FINISH_REASON_CHARACTERS],
        "failure": clean(turn.failure),
        "events": events_text(turn.answer, turn.events) if turn.events else "",
        "worker": worker(),
    }


def _note(turn: EndedTurn) -> Note:
    is_spoken = turn.message.get("type") == "user_message"
    return Note(
        session_id=turn.session_id,
        owner=turn.owner,
        words=message_text(turn.message) if is_spoken else "",
        title=turn.title,
        at=turn.ended_at,
    )
