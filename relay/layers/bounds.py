"""Limits of a session layer: how much it keeps, and for how long."""

from __future__ import annotations

import msgspec

from relay.conf import conf

__all__ = ["Bounds"]


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a session layer.

    Attributes:
        max_frames, max_bytes: of one session's log; the oldest frames go first. The memory layer counts characters for
            bytes, which costs no encoding.
        ttl_seconds: from a session's last frame, message or viewer until it is forgotten.
        max_sessions: of one process's memory layer; an idle one without viewers goes first.
        max_empty_sessions: watched sessions in which no message was accepted yet; of one process's memory layer, or of
            all processes that share a store. There each bucket of sessions has a share of its own.
        max_queue: messages that may wait in one session.
        lease_seconds: how long a worker may be silent before another takes its turn over.
        viewer_seconds: how long a viewer counts after its last sign of life.
        question_seconds: for which a person may answer what an agent asks; the session is kept meanwhile.
        max_questions, max_question_bytes: of one session, answered ones among them; the oldest go first.
        max_remembered_turns: of one session, for repeated messages and late cancels; the oldest go first.
    """

    max_frames: int = 10_000
    max_bytes: int = 4 * 1024 * 1024
    ttl_seconds: float = 3600.0
    max_sessions: int = 10_000
    max_empty_sessions: int = 10_000
    max_queue: int = 16
    lease_seconds: float = 5.0
    viewer_seconds: float = 60.0
    question_seconds: float = 3600.0
    max_questions: int = 100
    max_question_bytes: int = 256 * 1024
    max_remembered_turns: int = 1_000


def configured_bounds() -> Bounds:
    """Read the bounds from the settings."""
    return Bounds(
        max_frames=conf.buffer_frames,
        max_bytes=conf.buffer_bytes,
        ttl_seconds=conf.buffer_ttl_seconds,
        max_sessions=conf.max_sessions,
        max_empty_sessions=conf.max_empty_sessions,
        max_queue=conf.max_queue,
        lease_seconds=conf.lease_seconds,
        viewer_seconds=3 * conf.heartbeat_seconds,
        question_seconds=conf.pending_ttl_seconds,
    )
