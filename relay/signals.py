"""Signals for code in the same Django project."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from django.dispatch import Signal

__all__ = ["EndType", "MessageAccepted", "TurnEnded", "message_accepted", "turn_ended"]

EndType = Literal["turn.completed", "turn.failed", "turn.cancelled", "turn.waiting"]


class MessageAccepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that was stored in a session's queue, as receivers of ``message_accepted`` get it.

    Attributes:
        type: ``user_message``, or another kind that starts a turn.
        turn_id: the turn that will answer it.
        subject: its sender; ``None``: not known.
        message: its text, or the JSON of another kind; only with ``WEBHOOK_CONTENT``.
        is_cut: was it shortened?
    """

    type: str
    session_id: str
    turn_id: str
    subject: str | None
    accepted_at: datetime
    message: str | None = None
    is_cut: bool = False


class TurnEnded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An ended turn, as receivers of ``turn_ended`` and of webhooks get it.

    Attributes:
        type: ``turn.waiting`` if the agent asked a person something.
        subject: the sender of the message; ``None``: not known.
        finish_reason: ``stop``, ``cancelled``, ``error``, ``interrupt``, ``tool_calls`` or the agent's own reason.
        error_code: the code of a failed turn; ``None`` for others.
        started_at, tokens: ``None`` if the process that ran the turn died, and no other continued it.
        input_tokens, output_tokens: as the agent reports them; ``None`` if it does not.
        message, answer, error: texts of the conversation, only with ``WEBHOOK_CONTENT``; ``error`` as clients see it.
        is_cut: was one of them shortened?
    """

    type: EndType
    session_id: str
    turn_id: str
    subject: str | None
    finish_reason: str
    error_code: str | None
    started_at: datetime | None
    ended_at: datetime
    tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    message: str | None = None
    answer: str | None = None
    error: str | None = None
    is_cut: bool = False


message_accepted = Signal()
"""Sent after a message was stored, in the process that stored it, with ``message``: a ``MessageAccepted``.

A message that was sent again, and is stored already, is not told of again.
"""

turn_ended = Signal()
"""Sent after the end of each turn, in the process that ended it, with ``turn``: a ``TurnEnded``.

Receivers of both signals run one after another in a separate thread, with ``send_robust``, in the order in which the
signals were sent. A receiver that blocks delays other receivers, but no turn. Django logs failures.
"""
