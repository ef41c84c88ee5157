"""AG-UI: ``RunAgentInput``, and the events of one run. Pure.

Sources: https://docs.ag-ui.com/concepts/events, and what the npm packages ``@ag-ui/client`` and
``@tanstack/ai-client`` take and refuse.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Final, Literal, NamedTuple

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
from relay.protocol.answers import decision_message, resume_answers
from relay.protocol.client_messages import StartTurn
from relay.protocol.frames import Frame

# An AG-UI agent's own events, which come out as they went in, and the members that each must have: ``@ag-ui/client``
# fails a run for an event without them, and drops one of another name. Never the start and the end of a run.
VERBATIM: Final[dict[str, dict[str, type]]] = {
    "STATE_SNAPSHOT": {"snapshot": object},
    "STATE_DELTA": {"delta": list},
    "MESSAGES_SNAPSHOT": {"messages": list},
    "ACTIVITY_SNAPSHOT": {"messageId": str, "activityType": str, "content": dict},
    "ACTIVITY_DELTA": {"messageId": str, "activityType": str, "patch": list},
    "CUSTOM": {"name": str, "value": object},
    "RAW": {"event": object},
    "REASONING_ENCRYPTED_VALUE": {"subtype": str, "entityId": str, "encryptedValue": str},
    "SUBAGENT_STARTED": {"subagentRunId": str, "name": str},
    "SUBAGENT_FINISHED": {"subagentRunId": str},
    "SUBAGENT_ERROR": {"subagentRunId": str, "message": str},
}

_OWN_MEMBERS: Final = ("threadId", "runId", "messages")
_ASKED: Final = ("message", "responseSchema", "expiresAt", "metadata")  # of an interrupt, for the person


def read_request(body: Any, limits: Limits) -> ChatRequest:
    """Read a ``RunAgentInput`` (any JSON). The last message is the new one; the agent gets all other members.

    Raises:
        ParameterInvalid: it is none.
        ClientMessageTooLarge: the last message's words are.
    """
    if not isinstance(body, dict):
        raise ParameterInvalid("the body must be a JSON object.")
    session_id = session_id_of(body.get("threadId"), "threadId")
    run_id = body.get("runId")
    if not isinstance(run_id, str) or not run_id:
        raise ParameterInvalid("runId is missing.")
    fields = {name: value for name, value in body.items() if name not in _OWN_MEMBERS}
    fields["run_id"] = run_id
    if body.get("resume"):
        return ChatRequest(session_id, _answer(body["resume"], message_id_of(run_id), fields, limits))
    last = last_message(body)
    return ChatRequest(session_id, user_message(last, last.get("content"), message_id_of(run_id), fields, limits))


def _answer(resume: Any, message_id: str | None, fields: dict[str, Any], limits: Limits) -> StartTurn:
    """Return the message of ours that answers interrupts; the agent gets ``resume`` (any JSON), too."""
    answers = resume_answers(resume)
    if not answers:
        raise ParameterInvalid("resume must have entries with an interruptId.")
    ours = decision_message(answers)
    return forwarded(ours.pop("type"), message_id, {**fields, **ours}, limits)


class EventId(NamedTuple):
    """A cursor: an event's place in the log. ``before`` counts down to 0 within the events of one frame."""

    epoch: str
    offset: int
    before: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}" + (f".{self.before}" if self.before else "")

    def is_behind(self, cursor: EventId) -> bool:
        """Does the event come after the one that a client of the same epoch has seen last?"""
        return (self.offset, -self.before) > (cursor.offset, -cursor.before)


def parse_event_id(text: str) -> EventId | None:
    """Read ``<epoch>:<offset>`` or ``<epoch>:<offset>.<k>``; ``None`` if it is neither."""
    epoch, _, place = text.partition(":")
    offset, dot, before = place.partition(".")
    if not epoch or not _is_number(offset) or (dot and not _is_number(before)):
        return None
    return EventId(epoch, int(offset), int(before or 0))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def with_ids(epoch: str, frame: Frame, events: list[str]) -> Iterable[tuple[EventId, str]]:
    """Give each event made from a frame its id: different from all others, the last one the frame's own."""
    for number, event in enumerate(events, 1):
        yield EventId(epoch, frame.offset, len(events) - number), event


class AgUiTranslator(Translator):
    """Writes the events of one run.

    Args:
        thread_id, run_id: as the client named them.
        is_shared: does the connection carry other runs, too? Then an error names its run.
    """

    def __init__(self, turn_id: str, *, thread_id: str, run_id: str, is_shared: bool = False) -> None:
        super().__init__(turn_id)
        self._run = {"threadId": thread_id, "runId": run_id}
        self._error_names = self._run if is_shared else {}
        self._open: Literal["", "TEXT_MESSAGE", "REASONING_MESSAGE"] = ""
        self._open_id = turn_id
        self._message_id = turn_id  # of the newest text
        self._messages = 1
        self._has_text = False  # since the last call of a tool
        self._is_text_parted = False  # by reasoning
        self._delta_head = ""
        self._reasonings = 0
        self._results = 0
        self._called: set[str] = set()
        self._interrupts: list[dict[str, Any]] = []

    def on_start(self) -> list[str]:
        return [json_text.encode({"type": "RUN_STARTED", **self._run})]

    def on_text(self, text: str) -> list[str]:
        return [*self._opened("TEXT_MESSAGE", "assistant"), f'{self._delta_head}{text}"}}']

    def on_event(self, fields: dict[str, Any]) -> list[str]:
        kind = fields["type"]
        if kind == "reasoning" and isinstance(fields.get("token"), str):
            delta = json_text.encode_string(fields["token"])
            return [*self._opened("REASONING_MESSAGE", "reasoning"), f'{self._delta_head}{delta}"}}'] if delta else []
        events = self._closed()
        call_id, tool_name = tool_call_of(fields)
        if kind == "message_start":
            return events
        if kind == "tool_call" and call_id and tool_name:
            return events + self._tool_call(call_id, tool_name, fields)
        if kind == "tool_result" and call_id:
            return events + self._tool_result(call_id, fields)
        if _is_own_event(fields):
            return [*events, json_text.encode(fields)]
        return [*events, _custom(fields)]

    def _tool_call(self, call_id: str, tool_name: str, fields: dict[str, Any]) -> list[str]:
        if asked_call_id(fields) in self._called:  # the call itself has been written
            self._interrupts.append(interrupt_of(fields, self._called))
            return []
        self._called.add(call_id)
        if fields.get("requires_approval"):
            self._interrupts.append(interrupt_of(fields))
        self._has_text = self._is_text_parted = False
        start = {"toolCallId": call_id, "toolCallName": tool_name, "parentMessageId": self._message_id}
        return [
            json_text.encode({"type": "TOOL_CALL_START", **start}),
            json_text.encode({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": arguments_of(fields)}),
            json_text.encode({"type": "TOOL_CALL_END", "toolCallId": call_id}),
        ]

    def _tool_result(self, call_id: str, fields: dict[str, Any]) -> list[str]:
        self._interrupts = [interrupt for interrupt in self._interrupts if interrupt["id"] != call_id]  # it is settled
        self._results += 1
        message_id = f"{self.turn_id}:result:{self._results}"
        names = {"type": "TOOL_CALL_RESULT", "messageId": message_id, "toolCallId": call_id}
        return [json_text.encode({**names, "content": result_of(fields), "role": "tool"})]

    def on_notice(self, fields: dict[str, Any]) -> list[str]:
        return [*self._closed(), _custom(fields)]

    def on_final(self, finish_reason: str) -> list[str]:
        outcome: dict[str, Any] = {"type": "success"}
        if finish_reason == "cancelled":
            outcome = {"type": "cancelled"}
        elif self._interrupts:  # whatever the agent gave as its reason, the question waits
            outcome = {"type": "interrupt", "interrupts": self._interrupts}
        return [*self._closed(), json_text.encode({"type": "RUN_FINISHED", **self._run, "outcome": outcome})]

    def on_error(self, words: str, code: str) -> list[str]:
        error = {"type": "RUN_ERROR", **self._error_names, "message": words, "code": code}
        return [*self._closed(), json_text.encode(error)]

    def _opened(self, block: Literal["TEXT_MESSAGE", "REASONING_MESSAGE"], role: str) -> list[str]:
        """Open a message of text or of reasoning, unless it is open."""
        if self._open == block:
            return []
        events = self._closed()
        self._open = block
        self._open_id = self._next_text_id() if block == "TEXT_MESSAGE" else self._next_reasoning_id()
        head = json_text.encode({"type": f"{block}_CONTENT", "messageId": self._open_id})
        self._delta_head = f'{head[:-1]},"delta":"'
        return [*events, json_text.encode({"type": f"{block}_START", "messageId": self._open_id, "role": role})]

    def _next_text_id(self) -> str:
        """Name the text: the turn's, or another message behind reasoning, where TanStack AI would repeat the text."""
        if self._is_text_parted:
            self._messages += 1
            self._message_id = f"{self.turn_id}:{self._messages}"
        self._has_text, self._is_text_parted = True, False
        return self._message_id

    def _next_reasoning_id(self) -> str:
        self._is_text_parted = self._has_text
        self._reasonings += 1
        return reasoning_id(self.turn_id, self._reasonings)

    def _closed(self) -> list[str]:
        """Close the open message."""
        if not self._open:
            return []
        block, self._open = self._open, ""
        return [json_text.encode({"type": f"{block}_END", "messageId": self._open_id})]


def reasoning_id(turn_id: str, number: int) -> str:
    """Name a turn's reasoning, from 1: the text in one piece, or the pieces that no other event parts."""
    return f"{turn_id}:reasoning:{number}"


def interrupt_of(fields: dict[str, Any], calls: Container[str] = ()) -> dict[str, Any]:
    """Return the interrupt for a question of the agent (any JSON).

    Args:
        calls: ids of the calls that the client knows; the question may be about one of them.
    """
    (call_id, tool_name), asked_id, arguments = tool_call_of(fields), asked_call_id(fields), fields.get("arguments")
    if asked_id not in calls:
        return {"id": call_id, "reason": tool_name, "toolCallId": call_id}
    asked = {name: arguments[name] for name in _ASKED if isinstance(arguments, dict) and name in arguments}
    return {"id": call_id, "reason": tool_name, **asked, "toolCallId": asked_id}


def arguments_of(fields: dict[str, Any]) -> str:
    """Return the arguments in a tool's call (any JSON) as a text."""
    arguments = fields.get("arguments")
    return arguments if isinstance(arguments, str) else json_text.encode(arguments)


def result_of(fields: dict[str, Any]) -> str:
    """Return the result or error in a tool's result (any JSON) as a text."""
    result = fields["error"] if fields.get("error") is not None else fields.get("result")
    return result if isinstance(result, str) else json_text.encode(result)


def _is_own_event(fields: dict[str, Any]) -> bool:
    """Is an agent's event (any JSON) one of AG-UI's that a client takes?"""
    members = VERBATIM.get(fields["type"])
    return members is not None and all(
        name in fields and isinstance(fields[name], kind) for name, kind in members.items()
    )


def _custom(fields: dict[str, Any]) -> str:
    value = {name: value for name, value in fields.items() if name != "type"}
    return json_text.encode({"type": "CUSTOM", "name": fields["type"], "value": value})
