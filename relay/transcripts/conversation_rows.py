"""Conversations as rows of the database. Its functions block, so they are called in a thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

import msgspec
from django.db.models import Q

from relay.models import MAX_SUBJECT_CHARACTERS, MAX_TITLE_CHARACTERS, Conversation
from relay.protocol.text import clean

FIRST_WORDS_CHARACTERS: Final = 60  # of a message that gives its conversation the title

Metadata = dict[str, Any]  # any JSON object


class KeptConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, as its owner sees it."""

    pk: int
    session_id: str
    subject: str
    title: str
    metadata: Metadata
    created: datetime
    updated: datetime


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that an ended turn adds to its conversation.

    Attributes:
        owner: the session's; ``None``: not known.
        words: of its message; empty of a forwarded kind.
        title: as the agent names it; empty if it does not.
    """

    session_id: str
    owner: str | None
    words: str
    title: str
    at: datetime


def note(notes: Sequence[Note]) -> None:
    """Keep the conversations of turns that have ended, in the order in which they ended.

    The first owner of a conversation stays its owner, and learns nothing of another subject's turns under the same
    name. The title that its owner chose stays. If another process creates a conversation at the same moment, the owner
    or the title that it lacks comes with the next turn.

    Raises:
        DatabaseError: nothing was written.
    """
    names = {each.session_id for each in notes}
    kept = {row.session_id: row for row in Conversation.objects.filter(session_id__in=names)}
    own = [each for each in notes if _is_of_owner(each, kept.get(each.session_id))]
    by_session = sorted(own, key=lambda each: each.session_id)  # stable: each session's in their order
    found = {name: _conversation(list(each)) for name, each in groupby(by_session, key=lambda each: each.session_id)}
    Conversation.objects.bulk_create(
        found.values(), update_conflicts=True, unique_fields=["session_id"], update_fields=["updated"]
    )
    for name in found.keys() & kept.keys():
        _complete(kept[name], found[name])
    for each in own:
        if each.title:
            chosen = Conversation.objects.filter(session_id=each.session_id, is_renamed=False)
            chosen.update(title=title_of(each.title))


def _is_of_owner(each: Note, kept: Conversation | None) -> bool:
    """Was the turn not of a subject that opened another subject's session after it had ended?"""
    return not each.owner or kept is None or kept.subject in ("", subject_of(each.owner))


def _conversation(own: Sequence[Note]) -> Conversation:
    """Make the conversation of one session's notes, as if there were none."""
    return Conversation(
        session_id=own[0].session_id,
        subject=next((subject_of(each.owner) for each in own if each.owner), ""),
        title=next((words for each in own if (words := first_words(each.words))), ""),
        created=own[0].at,
        updated=own[-1].at,
    )


def _complete(row: Conversation, known: Conversation) -> None:
    """Set an owner and a title where there is none."""
    for field in ("title", "subject"):
        value = getattr(known, field)
        if value and not getattr(row, field):
            Conversation.objects.filter(pk=row.pk, **{field: ""}).update(**{field: value})


def owner_of(session_id: str) -> str | None:
    """Name a conversation's owner: empty if it has none; ``None``: there is no such conversation."""
    return Conversation.objects.filter(session_id=session_id).values_list("subject", flat=True).first()


def page(subject: str | None, words: str, after: tuple[datetime, int] | None, limit: int) -> list[KeptConversation]:
    """List a subject's conversations, the last used first; those whose title has the words, after a position.

    Raises:
        DatabaseError: they cannot be read.
    """
    found = Conversation.objects.filter(subject=subject_of(subject))
    if words:
        found = found.filter(title__icontains=clean(words))
    if after is not None:
        updated, pk = after
        found = found.filter(Q(updated__lt=updated) | Q(updated=updated, pk__lt=pk))
    return [_kept(row) for row in found.order_by("-updated", "-pk")[:limit]]


def create(session_id: str, subject: str | None, title: str | None, metadata: Metadata | None) -> KeptConversation:
    """Keep a conversation in which nothing was said yet.

    Raises:
        DatabaseError: it was not kept.
    """
    now = datetime.now(UTC)
    return _kept(
        Conversation.objects.create(
            session_id=session_id,
            subject=subject_of(subject),
            title=title_of(title or ""),
            is_renamed=bool(title),
            metadata=metadata or {},
            created=now,
            updated=now,
        )
    )


def unkept(session_id: str, subject: str | None) -> KeptConversation:
    """Describe a conversation without a row, where no transcripts are kept."""
    now = datetime.now(UTC)
    return KeptConversation(
        pk=0, session_id=session_id, subject=subject_of(subject), title="", metadata={}, created=now, updated=now
    )


def change(session_id: str, title: str | None, metadata: Metadata | None) -> KeptConversation | None:
    """Set a conversation's title, or its metadata, or both. Returns it; ``None``: there is none.

    Raises:
        DatabaseError: it was not changed.
    """
    changes: dict[str, Any] = {} if metadata is None else {"metadata": metadata}  # Any: values of fields
    if title is not None:
        changes |= {"title": title_of(title), "is_renamed": bool(title.strip())}
    found = Conversation.objects.filter(session_id=session_id)
    if changes:
        found.update(**changes)
    row = found.first()
    return None if row is None else _kept(row)


def subject_of(subject: str | None) -> str:
    """Write a subject as rows have it; empty if it is not known."""
    return clean(subject or "")[:MAX_SUBJECT_CHARACTERS]


def title_of(text: str) -> str:
    """Write a title on one line, cut to what fits."""
    return " ".join(clean(text).split())[:MAX_TITLE_CHARACTERS]


def first_words(text: str) -> str:
    """Make a title out of a message."""
    line = " ".join(clean(text[: 10 * FIRST_WORDS_CHARACTERS]).split())
    if len(line) <= FIRST_WORDS_CHARACTERS:
        return line
    cut = line[:FIRST_WORDS_CHARACTERS]
    return f"{cut.rpartition(' ')[0] or cut}…"


def _kept(row: Conversation) -> KeptConversation:
    return KeptConversation(
        pk=row.pk,
        session_id=row.session_id,
        subject=row.subject,
        title=row.title,
        metadata=row.metadata,
        created=row.created,
        updated=row.updated,
    )
