"""A session's turns as the messages that TanStack AI shows: its ``UIMessage``. Pure.

Source: the types of messages and parts in the npm package ``@tanstack/ai``. The parts are those that the same turn's
events give when they are streamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from relay.adapters.ag_ui import arguments_of, reasoning_id, result_of
from relay.adapters.base import asked_call_id, tool_call_of
from relay.protocol import json_text


def messages_of(turns: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of turns, as ``KeptTurn.fields`` gives them (any JSON); oldest first, as the turns."""
    return [message for turn in turns for message in _messages_of(turn)]


def user_message(turn_id: str, words: str, created_at: str | None = None) -> dict[str, Any]:
    """Return a user's message."""
    return _message(f"{turn_id}:user", "user", [_text(words)], created_at)


def unfinished_answer(turn_id: str) -> dict[str, Any]:
    """Return an answer of which no part is known: the client replaces it when the run is joined."""
    return _message(turn_id, "assistant", [], None)


def _messages_of(turn: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield user_message(turn["turn_id"], turn["message"], turn["started_at"])
    if parts := _Parts(turn["turn_id"]).of(turn["answer"], turn["events"]):
        yield _message(turn["turn_id"], "assistant", parts, turn["started_at"])


def _message(message_id: str, role: str, parts: list[dict[str, Any]], created_at: str | None) -> dict[str, Any]:
    times = {} if created_at is None else {"createdAt": created_at}
    return {"id": message_id, "role": role, "parts": parts, **times}


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "content": words}


class _Parts:
    """Collects the parts of one answer."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._parts: list[dict[str, Any]] = []
        self._calls: dict[str, dict[str, Any]] = {}
        self._reasonings = 0

    def of(self, answer: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the parts, the text cut where an event was."""
        start = 0
        for placed in events:
            self._add_text(answer[start : placed["position"]])
            start = max(start, placed["position"])
            self._add_event(placed["event"])
        self._add_text(answer[start:])
        return self._parts

    def _add_text(self, words: str) -> None:
        if not words:
            return
        if self._parts and self._parts[-1]["type"] == "text":  # an event without a part was between
            self._parts[-1]["content"] += words
        else:
            self._parts.append(_text(words))

    def _add_event(self, fields: dict[str, Any]) -> None:
        call_id, tool_name = tool_call_of(fields)
        kind = fields["type"]
        if kind == "reasoning" and isinstance(fields.get("token"), str):
            self._reasonings += 1
            step_id = reasoning_id(self._turn_id, self._reasonings)
            self._parts.append({"type": "thinking", "content": fields["token"], "stepId": step_id})
        elif kind == "tool_call" and call_id and tool_name and asked_call_id(fields) not in self._calls:
            self._add_call(call_id, tool_name, fields)
        elif kind == "tool_result" and call_id:
            self._add_result(call_id, result_of(fields))

    def _add_call(self, call_id: str, tool_name: str, fields: dict[str, Any]) -> None:
        arguments = arguments_of(fields)
        call = {
            "type": "tool-call",
            "id": call_id,
            "name": tool_name,
            "arguments": arguments,
            "state": "input-complete",
        }
        self._calls[call_id] = call | {"input": _value_of(arguments)}
        self._parts.append(self._calls[call_id])

    def _add_result(self, call_id: str, content: str) -> None:
        if (call := self._calls.get(call_id)) is not None:
            call |= {"state": "complete", "output": _value_of(content)}
        self._parts.append({"type": "tool-result", "toolCallId": call_id, "content": content, "state": "complete"})


def _value_of(text: str) -> Any:
    """Return the value of a JSON text; of any other text itself, as the client does."""
    try:
        return json_text.decode(text)
    except ValueError:
        return text
