"""Describes a message that was stored, for the receivers of the signal ``message_accepted``."""

from __future__ import annotations

from datetime import UTC, datetime

from relay.conf import conf
from relay.layers.values import NewTurn, agent_message, message_text
from relay.protocol.text import clean
from relay.signals import MessageAccepted
from relay.turns.ended import MAX_CHARACTERS


def describe_message(session_id: str, turn: NewTurn, turn_id: str) -> MessageAccepted:
    """Describe a message that the session layer has just stored."""
    message = agent_message(turn.body)
    text = clean(message_text(message)) if conf.webhook_content else None
    return MessageAccepted(
        type=clean(message["type"]),
        session_id=session_id,
        turn_id=turn_id,
        subject=None if turn.subject is None else clean(turn.subject),
        accepted_at=datetime.now(UTC),
        message=None if text is None else text[:MAX_CHARACTERS],
        is_cut=text is not None and len(text) > MAX_CHARACTERS,
    )
