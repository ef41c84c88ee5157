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
    asked_call_id,
    forwarded,
    last_message,
    message_id_of,
    session_id_of,
    tool_call_of,
    user_message,
)
from relay.exceptions import ParameterInvalid
from relay.protocol import json_text
from relay.protocol.answers import APPROVE, REJECT, Answer, call_id_of, decision_message
from relay.protocol.client_messages import StartTurn
from relay.protocol.frames import Frame, FrameKind

SUBMIT: Final = "submit-message"
REGENERATE: Final = "regenerate-message"
UI_MESSAGE: Final = "ui_message"  # our kind of message for a last message that is the assistant's: a tool's output
DONE: Final = "[DONE]"

_DECISIONS: Final = {True: APPROVE, False: REJECT}
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
        answers = _approvals(message)
        if answers and decision_message(answers)["type"] in limits.forward_types:
            return ChatRequest(session_id, _answer(message, answers, fields, limits))
        return ChatRequest(session_id, forwarded(UI_MESSAGE, None, {**fields, "message": message}, limits))
    content = message.get("parts", message.get("content"))  # before version 5 there was content
    return ChatRequest(session_id, user_message(message, content, message_id_of(message.get("id")), fields, limits))


def _approvals(message: dict[str, Any]) -> list[Answer]:
    """Return a person's decisions in the last step of an assistant's message (any JSON)."""
    decided = _decided_parts(message)
    return [
        Answer(call_id, _DECISIONS[approved], reason=reason) for call_id, approved, reason in map(_decision, decided)
    ]


def _decided_parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the calls about which a person has decided. Those of earlier steps were sent before."""
    parts = message.get("parts")
    decided: list[dict[str, Any]] = []
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "step-start":
            decided.clear()
        elif part.get("state") == "approval-responded" and isinstance(part.get("approval"), dict):
            decided.append(part)
    return [part for part in decided if _decision(part)[0]]


def _decision(part: dict[str, Any]) -> tuple[str, bool, str]:
    """Return the question's name, whether it was approved, and a person's words."""
    approval, reason = part["approval"], part["approval"].get("reason")
    named = {"call_id": approval.get("id")}
    return call_id_of(named), approval.get("approved") is True, reason if isinstance(reason, str) else ""


def _answer(message: dict[str, Any], answers: list[Answer], fields: dict[str, Any], limits: Limits) -> StartTurn:
    """Return the message of ours that answers. The same answers in the same message are the same message."""
    ours = decision_message(answers)
    kind = ours.pop("type")
    calls = [part["toolCallId"] for part in _decided_parts(message) if isinstance(part.get("toolCallId"), str)]
    known = {"id": message.get("id"), "calls": calls}
    message_id = message_id_of(f"{json_text.encode(known)} {json_text.encode(ours)}")
    return forwarded(kind, message_id, {**fields, **ours, UI_MESSAGE: known}, limits)


class AiSdkTranslator(Translator):
    """Writes the chunks of one turn.

    Args:
        has_approvals: does the client know ``tool-approval-request``? Version 5 throws a turn with one away.
        continues: does a turn that answers continue with the message in which the agent has asked? Only the client that
            sends the answer has that message open; another throws a turn away that has the result of its call.
    """

    def __init__(self, turn_id: str, *, has_approvals: bool = False, continues: bool = False) -> None:
        super().__init__(turn_id)
        self._has_approvals = has_approvals
        self._continues = continues
        self._open: Literal["", "text", "reasoning"] = ""
        self._blocks = 0
        self._delta_head = ""
        self._called: set[str] = set()
        self._answered: set[str] = set()  # calls of the client's message that continues
        self._message_id = turn_id

    def events(self, frame: Frame) -> list[str]:
        """See ``Translator``."""
        if self._continues and frame.kind is FrameKind.USER_MESSAGE:
            known = json_text.decode(frame.body).get(UI_MESSAGE)
            if isinstance(known, dict) and isinstance(known.get("calls"), list):
                self._message_id = str(known.get("id") or self.turn_id)
                self._answered.update(call_id for call_id in known["calls"] if isinstance(call_id, str))
        return super().events(frame)

    def on_start(self) -> list[str]:
        return [json_text.encode({"type": "start", "messageId": self._message_id}), '{"type":"start-step"}']

    def on_text(self, text: str) -> list[str]:
        chunks = self._opened("text")
        chunks.append(f'{self._delta_head}{text}"}}')
        return chunks

    def on_event(self, fields: dict[str, Any]) -> list[str]:
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
        if kind == "tool_result" and call_id in self._called | self._answered:
            return [*chunks, json_text.encode(_tool_output(call_id, fields))]
        return [*chunks, json_text.encode({"type": f"data-{kind}", "data": fields})]

    def _tool_call(self, call_id: str, tool_name: str, fields: dict[str, Any]) -> list[str]:
        asked_id = asked_call_id(fields)
        if asked_id in self._called and self._has_approvals:  # the call itself has been written
            return [json_text.encode({"type": "tool-approval-request", "approvalId": call_id, "toolCallId": asked_id})]
        if call_id in self._answered and not fields.get("requires_approval"):
            return []  # the client would show it a second time
        self._called.add(call_id)
        call = {"toolCallId": call_id, "toolName": tool_name, "input": fields.get("arguments"), "dynamic": True}
        chunks = [json_text.encode({"type": "tool-input-available", **call})]
        if fields.get("requires_approval") and self._has_approvals:
            asked = {"type": "tool-approval-request", "approvalId": call_id, "toolCallId": call_id}
            chunks.append(json_text.encode(asked))
        return chunks

    def on_notice(self, fields: dict[str, Any]) -> list[str]:
        del fields["type"]
        return [*self._closed(), json_text.encode({"type": "data-notice", "data": fields, "transient": True})]

    def on_final(self, finish_reason: str) -> list[str]:
        chunks = self._closed()
        if finish_reason == "cancelled":
            return [*chunks, '{"type":"abort","reason":"cancelled"}']
        finish = {"type": "finish", "finishReason": _FINISH_REASONS.get(finish_reason, "other")}
        return [*chunks, '{"type":"finish-step"}', json_text.encode(finish)]

    def on_error(self, words: str, code: str) -> list[str]:
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
