"""Turns the scripts' replies into values of the contract."""

from __future__ import annotations

from relay.layers.redis.frames import decode, decode_all
from relay.layers.redis.wire import Reply
from relay.layers.values import AgentPosition, Question, SessionState
from relay.protocol.frames import ReplayGap, Snapshot, user_message


class EpochDeleted(ReplayGap):
    """A gap because the session was deleted: its viewers are told so."""


def subject_text(subject: str | None) -> str:
    """Encode a subject for a script: empty for ``None``, otherwise with one character before it."""
    return "" if subject is None else f"={subject}"


def position_text(position: AgentPosition) -> str:
    """Encode a position for a script."""
    return f"{position.run}\n{position.cursor}\n{position.skip}"


def position_of(text: bytes) -> AgentPosition | None:
    """Read what ``position_text`` made; empty for ``None``."""
    if not text:
        return None
    run, cursor, skip = text.decode().split("\n")
    return AgentPosition(run, cursor, int(skip))


def state(session_id: str, reply: Reply) -> SessionState:
    """Read the reply of ``state.lua``."""
    epoch, oldest, newest, running, active_after, cancelled, queued, viewers, idle_seconds, age_seconds, *others = reply
    empty, questions, owner = others
    return SessionState(
        session_id=session_id,
        epoch=epoch.decode(),
        oldest=oldest,
        newest=newest,
        active_turn_id=running.decode() or None,
        active_after=active_after,
        is_cancelling=cancelled == b"1",
        queued=tuple(turn_id.decode() for turn_id in queued),
        viewers=viewers,
        is_empty=empty == 1,
        idle_seconds=max(float(idle_seconds), 0.0),
        age_seconds=max(float(age_seconds), 0.0),
        questions=tuple(
            Question(call_id.decode(), turn_id.decode(), body.decode(), float(seconds_left))
            for call_id, turn_id, body, seconds_left in questions
        ),
        owner=owner.decode()[1:] if owner else None,
    )


def gap(reply: Reply) -> ReplayGap:
    """Read the gap that ``read.lua`` reports."""
    return EpochDeleted(snapshot(reply)) if reply[-1] else ReplayGap(snapshot(reply))


def snapshot(reply: Reply) -> Snapshot:
    """Read the reply of ``read.lua`` where it reports a gap."""
    reason, epoch, newest, turn_id, trimmed_text, ending, kept, message, _ = reply
    reason = reason.decode()
    if not turn_id:
        return Snapshot(epoch.decode(), newest, reason)
    text = trimmed_text.decode() + "".join(frame.token_text for frame in decode_all(kept, 0))
    offset, _, terminal = ending.partition(b"\n")
    return Snapshot(
        epoch.decode(),
        newest,
        reason,
        turn_id.decode(),
        text,
        decode(terminal, int(offset)) if terminal else None,
        user_message(turn_id.decode(), message.decode()).body if message else None,
    )
