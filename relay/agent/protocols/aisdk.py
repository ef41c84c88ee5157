"""Agents that stream to the AI SDK's ``useChat``: Next.js routes, pydantic-ai's Vercel AI adapter and others. Pure.

Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol and the package ``ai``, versions 5 to 7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from relay.agent.protocols import vocabulary
from relay.agent.protocols.any_json import is_bare_error, json_value
from relay.agent.protocols.base import (
    INTERRUPT,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
    said_before,
)
from relay.layers.values import Turn, message_text
from relay.protocol.answers import Answer, answers_of
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/api/chat"  # where ``useChat`` looks by default
DONE: Final = "[DONE]"

_DENIED: Final = "The tool call was denied."
_BROKEN_OFF: Final = "The model's answer was cut off."
_SIGNS_OF_LIFE: Final = (
    "start-step",
    "finish-step",
    "text-start",
    "text-end",
    "reasoning-start",
    "reasoning-end",
    "tool-input-start",
    "tool-input-delta",
)


def _message(message_id: str, role: str, text: str) -> dict[str, Any]:
    return {"id": message_id, "role": role, "parts": [{"type": "text", "text": text}]}


def _answered_parts(turn: Turn) -> list[dict[str, Any]]:
    """Return the calls that a message answers as the parts of the message in which they were made."""
    questions = {question.get("call_id"): question for question in turn.questions}
    return [
        _part(answer, questions[answer.call_id]) for answer in answers_of(turn.message) if answer.call_id in questions
    ]


def _part(answer: Answer, question: dict[str, Any]) -> dict[str, Any]:
    call = vocabulary.asked_call(question)
    given = call.get("arguments") if answer.arguments is None else answer.arguments
    part = {
        "type": "dynamic-tool",
        "toolName": call.get("tool_name"),
        "toolCallId": call.get("call_id"),
        "input": given,
    }
    if not answer.decision:
        return {**part, "state": "output-available", "output": answer.value}
    reason = {"reason": answer.reason} if answer.reason else {}
    approval_id = question.get("approval_id", answer.call_id)
    approval = {"id": approval_id, "approved": answer.is_approved, **reason}
    return {**part, "state": "approval-responded", "approval": approval}


class _TextDelta(msgspec.Struct, gc=False):
    """The shape of most events. An event of any other shape goes to ``_look_closer``."""

    type: Literal["text-delta"]  # not a tag: a tag may be missing
    delta: str


_text_delta = msgspec.json.Decoder(_TextDelta)


class AiSdkEvents(AnswerReader):
    """Reads one answer."""

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self._reason: str | None = None  # of ``finish``, behind which nothing but an error matters
        self._calls: dict[str, dict[str, Any]] = {}  # the event of each tool call that is not asked about yet, by id
        self._approvals: set[str] = set()  # ids of approvals that a person has to give

    def _read(self, event: Event, made: list[Frame]) -> None:
        try:
            text = _text_delta.decode(event.data)
        except (ValueError, RecursionError):  # not that, or not quite
            self._look_closer(event, made)
            return
        if event.event == "error":
            self._look_closer(event, made)
        elif text.delta:
            self._add_text(text.delta, made)

    def _end(self, made: list[Frame]) -> None:
        """Finish without ``[DONE]``, which some agents omit."""
        if self._reason is not None:
            self._finish(self._reason, made)

    def _look_closer(self, event: Event, made: list[Frame]) -> None:
        if event.data.strip() == DONE and event.event != "error":
            self._finish(self._reason or self._final_reason("stop"), made)
            return
        value = json_value(event.data)
        fields = value if isinstance(value, dict) else {}
        kind = fields.get("type")
        if event.event == "error" or kind == "error" or is_bare_error(fields):
            self._fail(fields.get("errorText") or value, made)
            return
        take = _TAKES.get(kind) if isinstance(kind, str) else None
        if take is None:
            self._pass_on(value, made)
        else:
            take(self, fields, made)

    # One method for each kind of event.

    def _take_nothing(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take a sign of life."""

    def _take_metadata(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take what ``start`` and ``finish`` may say as ``message-metadata`` does, which passes whole."""
        if fields.get("messageMetadata") is not None:
            self._add_event({"type": "message-metadata", "messageMetadata": fields["messageMetadata"]}, made)

    def _take_text(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take text beside which something is odd, or half of an emoji."""
        delta = fields.get("delta")
        if isinstance(delta, str):
            self._add_text(delta, made)
        else:
            self._skip("malformed", made)

    def _take_reasoning(self, fields: dict[str, Any], made: list[Frame]) -> None:
        delta = fields.get("delta")
        if not isinstance(delta, str):
            self._skip("malformed", made)
        elif delta:
            self._add_event(vocabulary.reasoning(delta), made)

    def _take_call(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call_id, name = fields.get("toolCallId"), fields.get("toolName")
        if not isinstance(call_id, str) or not isinstance(name, str):
            self._skip("malformed", made)
            return
        call = vocabulary.tool_call(call_id, name, vocabulary.arguments(fields.get("input")))
        self._calls[call_id] = call
        self._add_event(call, made)

    def _take_failed_call(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take a call whose input the agent refuses: a call, and its failure."""
        self._take_call(fields, made)
        self._take_failure(fields, made)

    def _take_result(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call_id = fields.get("toolCallId")
        if fields.get("preliminary") is True:  # others follow, and the last one replaces it
            self._pass_on(fields, made)
        elif isinstance(call_id, str):
            self._add_event(vocabulary.tool_result(call_id, fields.get("output")), made)
        else:
            self._skip("malformed", made)

    def _take_failure(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call_id, words = fields.get("toolCallId"), fields.get("errorText")
        if isinstance(call_id, str):
            self._add_event(vocabulary.tool_error(call_id, words if isinstance(words, str) else ""), made)
        else:
            self._skip("malformed", made)

    def _take_denial(self, fields: dict[str, Any], made: list[Frame]) -> None:
        self._take_failure({**fields, "errorText": _DENIED}, made)

    def _take_approval_request(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take the question whether a call may be made: the call again, now with ``requires_approval``."""
        approval_id, call_id = fields.get("approvalId"), fields.get("toolCallId")
        if not isinstance(approval_id, str) or not isinstance(call_id, str):
            self._skip("malformed", made)
        elif fields.get("isAutomatic") is not True:
            self._approvals.add(approval_id)
            call = self._calls.pop(call_id, None) or vocabulary.tool_call(call_id, "", {})
            self._add_event({**call, "requires_approval": True, "approval_id": approval_id}, made)

    def _take_finish(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take the end, which may come with the model's reason; an error comes as an event before it."""
        reason = fields.get("finishReason")
        if reason == "error":
            self._fail({}, made)
        elif reason == "interrupted":  # without the model's own end
            self._fail(_BROKEN_OFF, made)
        else:
            self._take_metadata(fields, made)
            self._reason = self._final_reason(reason if isinstance(reason, str) and reason else "stop")

    def _take_abort(self, fields: dict[str, Any], made: list[Frame]) -> None:
        self._finish("cancelled", made)

    def _final_reason(self, reason: str) -> str:
        return INTERRUPT if self._approvals else reason.replace("-", "_")


_Take = Callable[[AiSdkEvents, dict[str, Any], list[Frame]], None]
_TAKES: Final[dict[str, _Take]] = {
    **dict.fromkeys(_SIGNS_OF_LIFE, AiSdkEvents._take_nothing),
    "start": AiSdkEvents._take_metadata,
    "text-delta": AiSdkEvents._take_text,
    "reasoning-delta": AiSdkEvents._take_reasoning,
    "tool-input-available": AiSdkEvents._take_call,
    "tool-input-error": AiSdkEvents._take_failed_call,
    "tool-approval-request": AiSdkEvents._take_approval_request,
    "tool-output-available": AiSdkEvents._take_result,
    "tool-output-error": AiSdkEvents._take_failure,
    "tool-output-denied": AiSdkEvents._take_denial,
    "finish": AiSdkEvents._take_finish,
    "abort": AiSdkEvents._take_abort,
}


class AiSdk(AgentProtocol):
    """An agent of the AI SDK. It keeps no conversation: each request carries it."""

    reader_class = AiSdkEvents

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        said = said_before(history, settings.system_prompt)
        messages = [_message(f"{turn.turn_id}.{number}", role, text) for number, (role, text) in enumerate(said)]
        body = {} if turn.message.get("type") == "user_message" else dict(turn.message)
        parts = _answered_parts(turn)
        last = _message(turn.turn_id, "user", message_text(turn.message))
        if parts:  # the assistant's message continues
            last = {"id": turn.turn_id, "role": "assistant", "parts": parts}
        body |= {"id": turn.session_id, "trigger": "submit-message", "messages": [*messages, last]}
        return AgentRequest(settings.path or PATH, body)
