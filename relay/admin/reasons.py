"""How turns end, in words for operators. docs/protocol.md lists the codes."""

from __future__ import annotations

from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from relay.models import GOOD_REASONS, Turn

WORDS: Final = {
    "answered": "Answered",
    "cancelled": "Cancelled",
    "upstream_error": "Agent reported an error",
    "upstream_unavailable": "Agent could not be reached",
    "upstream_timeout": "Agent stopped responding",
    "upstream_eof": "Answer was cut off",
    "upstream_protocol": "Agent sent an invalid answer",
    "turn_timeout": "Answer took too long",
    "interrupted": "Gateway process died",
    "shutting_down": "Gateway was stopped",
    "buffer_lost": "Store lost the answer",
    "internal": "Error in the gateway",
}


def words_of(reason: str, status: int | None = None) -> str:
    """Say how a turn ended, with the status of the agent's response if there is one; an unknown code as it is."""
    words = WORDS.get(reason, reason)
    return words if status is None else f"{words} (HTTP {status})"


def kind_of(reason: str) -> str:
    """Name the colour of a result: ``answered``, ``cancelled`` or ``failed``."""
    return reason if reason in GOOD_REASONS else "failed"


def badge(turn: Turn) -> SafeString:
    """Show how a turn ended; the code, which logs and metrics have, is its tooltip."""
    return format_html(
        '<span class="relay-end relay-{}" title="{}">{}</span>',
        kind_of(turn.reason),
        turn.reason,
        words_of(turn.reason, turn.upstream_status),
    )
