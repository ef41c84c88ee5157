"""The agent's questions that no message has answered yet, as clients are told of them: ``pending`` in PROTOCOL."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from relay.agent.protocols.vocabulary import asked_call
from relay.layers.values import Question, SessionState
from relay.protocol import json_text


def pending_fields(state: SessionState) -> list[dict[str, Any]]:
    """Return the members of ``pending``, the oldest question first."""
    return [_fields(question) for question in state.questions]


def _fields(question: Question) -> dict[str, Any]:
    """Describe a question: by the call that it is about, where the agent names one. ``arguments`` is any JSON."""
    event = json_text.decode(question.body)
    call = asked_call(event)
    return {
        "call_id": question.call_id,
        "turn_id": question.turn_id,
        "tool_name": str(call.get("tool_name") or call.get("name") or ""),
        "arguments": call.get("arguments"),
        "expires_at": _moment(question.seconds_left),
    }


def _moment(seconds_left: float) -> str:
    """Write a moment in UTC as RFC 3339 does; the store's clock says only how far away it is."""
    return datetime.fromtimestamp(time.time() + seconds_left, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
