"""The AI SDK's protocol: ``useChat``'s request, and the chunks of its UI message stream. Pure.

Sources: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol, and the schema of chunks in the npm package ``ai`` 5 to 7,
which throws a turn away for a chunk that it does not know.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from relay.adapters.base import (
    ChatRequest,
    Limits,
    Translator,
    forwarded,
    last_message,
    message_id_of,
    session_id_of,
    tool_call_of,
    user_message,
)
from relay.exceptions import ParameterInvalid
from relay.protocol import json_text

SUBMIT: Final = "submit-message"
REGENERATE: Final = "regenerate-message"
UI_MESSAGE: Final = "ui_message"  # our kind of message for a last message that is the assistant's: a tool's output
DONE: Final = "[DONE]"

# The reasons that the client knows; anything else is "other".
_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "content-filter": "content-filter",
    "tool_calls": "tool-calls",
    "tool-calls": "tool-calls",
    "interrupt": "tool-calls",
}


def read_request(body: Any, limits: Limits) -> ChatRequest:
    """Read the body of a ``POST`` (any JSON), with the whole conversation or its last message.

    Raises:
        ParameterInvalid: it is none.
        ClientMessageTooLarge: the last message's words are.
    """
    if not isinstance(body, dict):
        raise ParameterInvalid("the body must be a JSON object.")
    session_id = session_id_of(body.get("id"), "id")
    message = last_message(body if "messages" in body else {"messages": [body.get("message")]})
    own = ("id", "message", "messages")
    fields = {name: value for name, value in body.items() if name not in own}
    if body.get("trigger", SUBMIT) == REGENERATE:
        return ChatRequest(session_id, forwarded(REGENERATE, None, {**fields, "message": message}, limits))
    if message.get("role") == "assistant":
        return ChatRequest(session_id, forwarded(UI_MESSAGE, None, {**fields, "message": message}, limits))
    content = message.get("parts", message.get("content"))  # before version 5 there was content
    return ChatRequest(session_id, user_message(message, content, message_id_of(message.get("id")), fields, limits))


class AiSdkTranslator(Translator):
    """Writes the chunks of one turn.

    Args:
        has_approvals: does the client know ``tool-approval-request``? Version 5 throws a turn with one away.
    """

    def __init__(self, turn_id: str, *, has_approvals: bool = False) -> None:
        super().__init__(turn_id)
        self._has_approvals = has_approvals
        self._open: Literal["", "text", "reasoning"] = ""
        self._blocks = 0
        self._delta_head = ""
        self._called: set[str] = set()

    def _start(self) -> list[str]:
        return [json_text.encode({"type": "start", "messageId": self.turn_id}), '{"type":"start-step"}']

    def _text(self, text: str) -> list[str]:
        chunks = self._opened("text")
        chunks.append(f'{self._delta_head}{text}"}}')
        return chunks

    def _event(self, fields: dict[str, Any]) -> list[str]:
        kind = fields.pop("type")
        if kind == "reasoning" and isinstance(fields.get("token"), str):
            delta = json_text.encode_string(fields["token"])
            return [*self._opened("reasoning"), f'{self._delta_head}{delta}"}}']
        chunks = self._closed()
        call_id, tool_name = tool_call_of(fields)
        if kind == "message_start":
            return chunks
        if kind == "tool_call" and call_id and tool_name:
            return chunks + self._tool_call(call_id, tool_name, fields)
        if kind == "tool_result" and call_id in self._called:
            return [*chunks, json_text.encode(_tool_output(call_id, fields))]
        return [*chunks, json_text.encode({"type": f"data-{kind}", "data": fields})]

    def _tool_call(self, call_id: str, tool_name: str, fields: dict[str, Any]) -> list[str]:
        self._called.add(call_id)
        call = {"toolCallId": call_id, "toolName": tool_name, "input": fields.get("arguments"), "dynamic": True}
        chunks = [json_text.encode({"type": "tool-input-available", **call})]
        if fields.get("requires_approval") and self._has_approvals:
            asked = {"type": "tool-approval-request", "approvalId": call_id, "toolCallId": call_id}
            chunks.append(json_text.encode(asked))
        return chunks

    def _notice(self, fields: dict[str, Any]) -> list[str]:
        del fields["type"]
        return [*self._closed(), json_text.encode({"type": "data-notice", "data": fields, "transient": True})]

    def _final(self, finish_reason: str) -> list[str]:
        chunks = self._closed()
        if finish_reason == "cancelled":
            return [*chunks, '{"type":"abort","reason":"cancelled"}']
        finish = {"type": "finish", "finishReason": _FINISH_REASONS.get(finish_reason, "other")}
        return [*chunks, '{"type":"finish-step"}', json_text.encode(finish)]

    def _error(self, words: str, code: str) -> list[str]:
        return [*self._closed(), json_text.encode({"type": "error", "errorText": words})]

    def _opened(self, block: Literal["text", "reasoning"]) -> list[str]:
        """Open a block of text or of reasoning, unless it is open."""
        if self._open == block:
            return []
        chunks = self._closed()
        self._open = block
        block_id = json_text.encode(f"{self.turn_id}:{self._blocks}")
        self._delta_head = f'{{"type":"{block}-delta","id":{block_id},"delta":"'
        return [*chunks, f'{{"type":"{block}-start","id":{block_id}}}']

    def _closed(self) -> list[str]:
        """Close the open block."""
        if not self._open:
            return []
        end = {"type": f"{self._open}-end", "id": f"{self.turn_id}:{self._blocks}"}
        self._open = ""
        self._blocks += 1
        return [json_text.encode(end)]


def _tool_output(call_id: str, fields: dict[str, Any]) -> dict[str, Any]:
    error = fields.get("error")
    if error is not None:
        words = error if isinstance(error, str) else json_text.encode(error)
        return {"type": "tool-output-error", "toolCallId": call_id, "errorText": words, "dynamic": True}
    return {"type": "tool-output-available", "toolCallId": call_id, "output": fields.get("result"), "dynamic": True}
