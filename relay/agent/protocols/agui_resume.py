"""A person's answers as a run of AG-UI takes them: ``resume``, and the calls that are answered. Pure.

Source: https://docs.ag-ui.com/concepts/interrupts, and pydantic-ai's payload of an approval.
"""

from __future__ import annotations

from typing import Any

from relay.layers.values import Turn
from relay.protocol import json_text
from relay.protocol.answers import Answer, answers_of


def resume_of(turn: Turn) -> list[Any]:
    """Return the answers of a message to interrupts, in AG-UI's form; none if it answers nothing."""
    if isinstance(turn.message.get("resume"), list):
        return list(turn.message["resume"])
    answers = answers_of(turn.message)
    asked = {question.get("call_id") for question in turn.questions}
    return [_entry(answer) for answer in answers if answer.decision or answer.call_id in asked]


def _entry(answer: Answer) -> dict[str, Any]:
    """Write an entry of ``resume``. Its payload is that of the interrupt's schema: AG-UI's approvals, or the value."""
    payload = answer.value
    if answer.decision:
        edited = {} if answer.arguments is None else {"editedArgs": answer.arguments}
        reason = {"reason": answer.reason} if answer.reason else {}
        payload = {"approved": answer.is_approved, **edited, **reason}
    return {"interruptId": answer.call_id, "status": "resolved", "payload": payload}


def asked_calls(turn: Turn) -> list[dict[str, Any]]:
    """Return the message with the calls that were asked about: an agent that keeps no history continues from there."""
    calls = [question["tool_call"] for question in turn.questions if isinstance(question.get("tool_call"), dict)]
    if not calls:
        return []
    written = [
        {
            "id": call["call_id"],
            "type": "function",
            "function": {"name": call["tool_name"], "arguments": _arguments_text(call["arguments"])},
        }
        for call in calls
    ]
    return [{"id": f"{turn.turn_id}.asked", "role": "assistant", "toolCalls": written}]


def _arguments_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json_text.encode(arguments)
