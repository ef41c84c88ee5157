"""Signals for code in the same Django project."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from django.dispatch import Signal

EndType = Literal["turn.completed", "turn.failed", "turn.cancelled", "turn.waiting"]


class TurnEnded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An ended turn, as receivers of ``turn_ended`` and of webhooks get it.

    Attributes:
        type: ``turn.waiting`` if the agent asked a person something.
        subject: the sender of the message; ``None``: none is known.
        finish_reason: ``stop``, ``cancelled``, ``error``, ``interrupt``, ``tool_calls`` or what the agent said.
        error_code: of a failed turn.
        started_at, tokens: ``None`` if the process that ran the turn died.
        input_tokens, output_tokens: as the agent reports them; ``None`` if it does not.
        message, answer, error: texts of the conversation, only with ``WEBHOOK_CONTENT``; ``error`` as clients see it.
        is_cut: is one of them longer than is sent?
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


turn_ended = Signal()
"""Is sent after the end of each turn, in the process that ended it, with ``turn``: a ``TurnEnded``.

Receivers run one after another in a thread of their own, with ``send_robust``: one that fails or blocks delays other
receivers, and no turn. Django logs failures.
"""
