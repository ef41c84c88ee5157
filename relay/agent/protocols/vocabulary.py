"""The agent's events that have the same shape whatever protocol the agent speaks: PROTOCOL's "Common events". Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from relay.protocol import json_text

Fields = dict[str, Any]  # any JSON object

MAX_TOKENS: Final = 1_000_000_000_000  # in one event; the sum of all that fit into an answer fits into a database


def reasoning(token: str) -> Fields:
    """Make the event of a piece of the model's reasoning."""
    return {"type": "reasoning", "token": token}


def tool_call(call_id: str, tool_name: str, arguments: Any, *, requires_approval: bool = False) -> Fields:
    """Make the event of a tool call; ``arguments`` is an object, or the text that is none (see ``arguments``)."""
    fields = {"type": "tool_call", "call_id": call_id, "tool_name": tool_name, "arguments": arguments}
    return {**fields, "requires_approval": True} if requires_approval else fields


def interrupt(call_id: str, reason: str | None, asked: Fields) -> Fields:
    """Make the event of an agent that waits for a person, who is asked by way of a tool call.

    Args:
        call_id: the interrupt's id, or the turn's where it has none.
        reason: the interrupt's kind; empty or ``None``: ``interrupt``.
        asked: the facts that the person has to know.
    """
    return tool_call(call_id, reason or "interrupt", asked, requires_approval=True)


def tool_result(call_id: str, result: Any, tool_name: str | None = None) -> Fields:
    """Make the event of a tool's result, which is any JSON."""
    return {"type": "tool_result", "call_id": call_id, **_named(tool_name), "result": result}


def tool_error(call_id: str, error: str, tool_name: str | None = None) -> Fields:
    """Make the event of a tool that failed, with the words why."""
    return {"type": "tool_result", "call_id": call_id, **_named(tool_name), "error": error}


def usage(**tokens: Any) -> Fields | None:
    """Make the event of the tokens used; ``None`` if no number is known.

    Args:
        tokens: of any JSON, by name: ``input_tokens``, ``output_tokens``, ``total_tokens``, and parts of the
            former as ``cached_input_tokens`` and ``reasoning_tokens``. Members that are no numbers are left out.
    """
    known = {name: number for name, number in tokens.items() if type(number) is int and number >= 0}
    return {"type": "usage", **known} if known else None


class Usage(msgspec.Struct):
    """The tokens that an answer's ``usage`` events report, added up; ``None``: no event says.

    They are the agent's numbers, not frames: a model's tokens, of all its calls in one turn.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None

    def add(self, event: Fields) -> None:
        """Add an event's numbers; a member that is not a number, or an absurd one, does not count."""
        self.input_tokens = _added(self.input_tokens, event.get("input_tokens"))
        self.output_tokens = _added(self.output_tokens, event.get("output_tokens"))


def message_start(message_id: str) -> Fields:
    """Make the event between two messages of one answer: the tokens that follow belong to another message."""
    return {"type": "message_start", "message_id": message_id}


def arguments(value: Any) -> Fields | str:
    """Read a tool call's arguments (any JSON): the object, also from its text; empty for none; or else a text."""
    if isinstance(value, dict):
        return value
    text = value if isinstance(value, str) else "" if value is None else json_text.encode(value)
    if not text.strip():
        return {}
    try:
        read = json_text.decode_leniently(text)
    except ValueError:
        return text
    return read if isinstance(read, dict) else text


def asked_call(question: Fields) -> Fields:
    """Return the call that a question (a ``tool_call`` event) is about: the one that it names, or itself."""
    call = question.get("tool_call")
    return call if isinstance(call, dict) else question


def _named(tool_name: str | None) -> Fields:
    return {"tool_name": tool_name} if tool_name else {}


def _added(so_far: int | None, number: Any) -> int | None:
    return (so_far or 0) + number if type(number) is int and 0 <= number <= MAX_TOKENS else so_far
