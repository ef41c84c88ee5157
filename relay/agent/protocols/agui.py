"""Agents that speak AG-UI: pydantic-ai, Agno, ADK, LangGraph, LlamaIndex, Mastra, agent-framework and others. Pure.

Source: https://docs.ag-ui.com/concepts/events, the specification 1.0 and the package ``ag-ui-protocol``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from relay.agent.protocols import vocabulary
from relay.agent.protocols.agui_resume import asked_calls, resume_of
from relay.agent.protocols.any_json import is_bare_error, json_value
from relay.agent.protocols.base import (
    INTERRUPT,
    TOOL_CALLS,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
    check_calls,
    said_before,
)
from relay.agent.protocols.run import LocalRun
from relay.layers.values import Turn, message_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/"  # where pydantic-ai's app is, and the examples of ADK, LangGraph and agent-framework put theirs

_USAGE: Final = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "cached_input_tokens": "cachedInputTokens",
    "reasoning_tokens": "reasoningTokens",
}
_REASONING: Final = ("REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_CHUNK", "THINKING_TEXT_MESSAGE_CONTENT")
_FOREIGN_ROLES: Final = ("developer", "system", "user", "tool")
_SIGNS_OF_LIFE: Final = frozenset(
    f"{name}_{edge}"
    for name in ("REASONING", "REASONING_MESSAGE", "THINKING", "THINKING_TEXT_MESSAGE")  # THINKING: before 1.0
    for edge in ("START", "END")
) | {"RUN_STARTED", "STEP_STARTED", "STEP_FINISHED", "TEXT_MESSAGE_END"}


class _Content(msgspec.Struct, gc=False, rename="camel"):
    """The shape of most events. An event of any other shape goes to ``_look_closer``."""

    type: Literal["TEXT_MESSAGE_CONTENT"]  # not a tag: a tag may be missing
    message_id: str
    delta: str


_content = msgspec.json.Decoder(_Content)


class AgUiEvents(AnswerReader):
    """Reads one answer."""

    is_resumed_if_told = True

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        super().__init__(turn_id, max_turn_bytes=max_turn_bytes, redact=redact)
        self._message_id: str | None = None  # of the message that had the newest text; at first, of the first message
        self._foreign_ids: set[str] = set()  # of messages that are not the assistant's
        self._calls: dict[str, _Call] = {}  # that are not ended, by id
        self._ended: dict[str, dict[str, Any]] = {}  # that have no result yet: an interrupt may be about one
        self._chunked_id: str | None = None  # of the call that comes in chunks, which no event ends

    def opened(self, headers: Mapping[str, str]) -> None:
        """See ``AnswerReader``."""
        if self.may_resume:
            self.run = LocalRun()

    def rejoin_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``: the same request, with a cursor. Without one it would be the message again."""
        run = self.run
        if not isinstance(run, LocalRun) or not run.seen:
            return None
        return asked._replace(headers={**asked.headers, "Last-Event-ID": run.before or run.seen})

    def _read(self, event: Event, made: list[Frame]) -> None:
        try:
            content = _content.decode(event.data)
        except (ValueError, RecursionError):  # not that, or not quite
            self._look_closer(event, made)
            return
        if content.message_id != self._message_id or self._chunked_id is not None or event.event == "error":
            self._look_closer(event, made)
        elif content.delta:
            self._add_text(content.delta, made)

    def _look_closer(self, event: Event, made: list[Frame]) -> None:
        value = json_value(event.data)
        fields = value if isinstance(value, dict) else {}
        kind = fields.get("type")
        if event.event == "error" or is_bare_error(fields):
            self._fail(value, made)
            return
        take = _TAKES.get(kind) if isinstance(kind, str) else None
        if take is None:
            self._pass_on(value, made)
            return
        if kind not in ("TOOL_CALL_CHUNK", "RUN_ERROR"):
            self._end_chunked_call(made)
        take(self, fields, made)

    # One method for each kind of event.

    def _take_nothing(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take a sign of life."""

    def _take_text(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take ``TEXT_MESSAGE_START``, ``_CONTENT`` or ``_CHUNK``; without an id it is the newest message's."""
        message_id, delta = fields.get("messageId"), fields.get("delta")
        if message_id is None:
            message_id = self._message_id
        if not isinstance(message_id, str | None) or not isinstance(delta, str | None):
            self._skip("malformed", made)
            return
        if message_id is not None and fields.get("role") in _FOREIGN_ROLES:
            self._foreign_ids.add(message_id)
        if message_id in self._foreign_ids:
            return
        if self._message_id is None:
            self._message_id = message_id
        if not delta:
            return
        if message_id is not None and message_id != self._message_id:
            self._message_id = message_id
            self._add_event(vocabulary.message_start(message_id), made)
        self._add_text(delta, made)

    def _take_reasoning(self, fields: dict[str, Any], made: list[Frame]) -> None:
        delta = fields.get("delta")
        if isinstance(delta, str):
            if delta:
                self._add_event(vocabulary.reasoning(delta), made)
        elif delta is not None:
            self._skip("malformed", made)

    def _take_call_start(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call_id, name = fields.get("toolCallId"), fields.get("toolCallName")
        if isinstance(call_id, str) and isinstance(name, str):
            check_calls(len(self._calls))
            self._calls[call_id] = _Call(name)
        else:
            self._skip("malformed", made)

    def _take_call_arguments(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call, delta = self._call(fields.get("toolCallId")), fields.get("delta")
        if call is not None and isinstance(delta, str):
            call.pieces.append(delta)
        else:
            self._skip("malformed", made)

    def _take_call_end(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call_id = fields.get("toolCallId")
        if isinstance(call_id, str) and call_id in self._calls:
            self._end_call(call_id, made)

    def _take_call_chunk(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Take a piece of a call; without an id it is the newest chunk's."""
        call_id = fields.get("toolCallId")
        if call_id is not None and call_id != self._chunked_id:
            self._end_chunked_call(made)
            if self._call(call_id) is None:
                self._take_call_start(fields, made)
            if self._call(call_id) is None:
                return
            self._chunked_id = call_id
        if fields.get("delta") is not None or self._chunked_id is None:
            self._take_call_arguments({**fields, "toolCallId": self._chunked_id}, made)

    def _take_result(self, fields: dict[str, Any], made: list[Frame]) -> None:
        call_id = fields.get("toolCallId")
        if isinstance(call_id, str):
            self._ended.pop(call_id, None)
            self._add_event(vocabulary.tool_result(call_id, fields.get("content")), made)
        else:
            self._skip("malformed", made)

    def _take_run_finished(self, fields: dict[str, Any], made: list[Frame]) -> None:
        outcome = fields.get("outcome")
        outcome = outcome if isinstance(outcome, dict) else {}
        for call_id in list(self._calls):
            self._end_call(call_id, made)
        self._add_usage(fields.get("usage"), made)
        if outcome.get("type") == "interrupt":
            interrupts = outcome.get("interrupts")
            for interrupt in interrupts if isinstance(interrupts, list) and interrupts else [{}]:
                self._add_interrupt(interrupt if isinstance(interrupt, dict) else {}, made)
            self._finish(INTERRUPT, made)
        elif outcome.get("type") == "cancelled":
            self._finish("cancelled", made)
        else:
            self._finish(TOOL_CALLS if outcome.get("pendingToolCallIds") else "stop", made)

    def _take_run_error(self, fields: dict[str, Any], made: list[Frame]) -> None:
        self._add_usage(fields.get("usage"), made)
        self._fail(fields, made)

    # The parts that they share.

    def _call(self, call_id: Any) -> _Call | None:
        return self._calls.get(call_id) if isinstance(call_id, str) else None

    def _end_call(self, call_id: str, made: list[Frame]) -> None:
        call = self._calls.pop(call_id)
        arguments = vocabulary.arguments("".join(call.pieces))
        self._ended[call_id] = {"call_id": call_id, "tool_name": call.name, "arguments": arguments}
        self._add_event(vocabulary.tool_call(call_id, call.name, arguments), made)

    def _end_chunked_call(self, made: list[Frame]) -> None:
        if self._chunked_id is not None:
            self._end_call(self._chunked_id, made)
            self._chunked_id = None

    def _add_usage(self, entries: Any, made: list[Frame]) -> None:
        """Add up the usage of several models."""
        entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        numbers = {name: [entry.get(member) for entry in entries] for name, member in _USAGE.items()}
        known = {name: [number for number in found if type(number) is int] for name, found in numbers.items()}
        usage = vocabulary.usage(**{name: sum(found) for name, found in known.items() if found})
        if usage is not None:
            self._add_event(usage, made)

    def _add_interrupt(self, interrupt: dict[str, Any], made: list[Frame]) -> None:
        call_id, reason = interrupt.get("id"), interrupt.get("reason")
        asked = {name: value for name, value in interrupt.items() if name not in ("id", "reason")}
        call_id = call_id if isinstance(call_id, str) and call_id else self._turn_id
        question = vocabulary.interrupt(call_id, reason if isinstance(reason, str) else None, asked)
        about = interrupt.get("toolCallId")
        if isinstance(about, str) and about in self._ended:
            question["tool_call"] = self._ended[about]
        self._add_event(question, made)


class _Call(msgspec.Struct):
    """A tool call of which the pieces of its arguments are gathered."""

    name: str
    pieces: list[str] = []  # msgspec copies it


_Take = Callable[[AgUiEvents, dict[str, Any], list[Frame]], None]
_TAKES: Final[dict[str, _Take]] = {
    **dict.fromkeys(_SIGNS_OF_LIFE, AgUiEvents._take_nothing),
    **dict.fromkeys(_REASONING, AgUiEvents._take_reasoning),
    "TEXT_MESSAGE_START": AgUiEvents._take_text,
    "TEXT_MESSAGE_CONTENT": AgUiEvents._take_text,
    "TEXT_MESSAGE_CHUNK": AgUiEvents._take_text,
    "TOOL_CALL_START": AgUiEvents._take_call_start,
    "TOOL_CALL_ARGS": AgUiEvents._take_call_arguments,
    "TOOL_CALL_END": AgUiEvents._take_call_end,
    "TOOL_CALL_CHUNK": AgUiEvents._take_call_chunk,
    "TOOL_CALL_RESULT": AgUiEvents._take_result,
    "RUN_FINISHED": AgUiEvents._take_run_finished,
    "RUN_ERROR": AgUiEvents._take_run_error,
}


class AgUi(AgentProtocol):
    """An AG-UI agent. Most keep no conversation: each request carries it."""

    reader_class = AgUiEvents

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        messages = [
            {"id": f"{turn.turn_id}.{number}", "role": role, "content": text}
            for number, (role, text) in enumerate(said_before(history, settings.system_prompt))
        ]
        body = {
            "threadId": turn.session_id,
            "runId": turn.turn_id,
            "messages": messages,
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": {} if turn.message.get("type") == "user_message" else turn.message,
        }
        resume = resume_of(turn)
        if resume:  # the answer to an interrupt is no message
            body["resume"] = resume
            messages += asked_calls(turn)
        else:
            messages.append({"id": turn.turn_id, "role": "user", "content": message_text(turn.message)})
        return AgentRequest(settings.path or PATH, body)
