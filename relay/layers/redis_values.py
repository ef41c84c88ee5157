"""What scripts reply, as values of the contract."""

from __future__ import annotations

from relay.frames import Snapshot
from relay.layers.redis_connection import Reply
from relay.layers.redis_frames import decode, decode_all
from relay.layers.values import SessionState


def state(session_id: str, reply: Reply) -> SessionState:
    """Read the reply of ``state.lua``."""
    epoch, oldest, newest, running, active_after, cancelled, queued, viewers, idle_seconds = reply
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
        idle_seconds=max(float(idle_seconds), 0.0),
    )


def snapshot(reply: Reply) -> Snapshot:
    """Read the reply of ``read.lua`` where it reports a gap."""
    reason, epoch, newest, turn_id, trimmed_text, ending, kept = reply
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
    )
