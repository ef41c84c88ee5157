"""The gateway's own agent protocol: PROTOCOL's "The agent's side", row by row. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from relay.agent.protocols.base import (
    TOOL_CALLS,
    AgentProtocol,
    AgentRequest,
    AgentSettings,
    AnswerReader,
    PastTurn,
)
from relay.agent.protocols.run import Run
from relay.layers.values import AgentPosition, Turn
from relay.protocol import json_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

PATH: Final = "/agent/message/stream"
RESUME: Final = "x-agent-resume"  # "1" in the head of an answer: the agent keeps the run, and can be rejoined
DONE: Final = "[DONE]"  # how OpenAI's streams end

_DECISIVE_NAMES: Final = frozenset(["error", "done"])  # an event's name that ends the turn, whatever its data is
_BEGINS_AS_ERROR: Final = re.compile(r'\s*\{\s*"type"\s*:\s*"error"')
_FAILURES: Final = ("error", "failed")  # a last event's status; tuples, for any JSON may be looked up in them
_TOOL_TYPES: Final = ("tool_call", "tool_result")


class _Token(msgspec.Struct):
    """The shape of most events. An event of any other shape goes to ``_look_closer``."""

    type: Literal["assistant_message"]  # not a tag: a tag may be missing
    token: str
    is_final: bool = False
    error: None = None


_token = msgspec.json.Decoder(_Token)


class AgentEvents(AnswerReader):
    """Reads one answer."""

    _tokens_at_tool_call = -1  # equal to ``tokens``: a tool call was the last that came
    _is_kept = False  # does the agent continue when the connection is closed?

    def opened(self, headers: Mapping[str, str]) -> None:
        """See ``AnswerReader``."""
        self._is_kept = headers.get(RESUME) == "1"
        if self._is_kept and self.may_resume:
            self.run = Run(is_read_anywhere=True)

    def rejoin_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        if self.run is None:
            return None
        behind = {"Last-Event-ID": self.run.seen} if self.run.seen else {}
        return AgentRequest(f"{asked.path}/{self._turn_id}", None, "GET", behind)

    def stop_request(self, asked: AgentRequest) -> AgentRequest | None:
        """See ``AnswerReader``."""
        return AgentRequest(f"{asked.path}/{self._turn_id}", None, "DELETE") if self._is_kept else None

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """See ``AnswerReader``."""
        if position.skip > len(so_far):
            return False
        self._is_kept = True
        self.run = Run.taken_over(position, is_read_anywhere=True)
        behind = len(so_far) - position.skip
        if self._count(so_far[:behind]) == "tool_call":
            self._tokens_at_tool_call = self.tokens
        self._repeated = so_far[behind:][::-1]
        return True

    def _read(self, event: Event, made: list[Frame]) -> None:
        try:
            message = _token.decode(event.data)
        except (ValueError, RecursionError):  # not that, or not quite
            self._look_closer(event, made)
            return
        if message.is_final or (event.event and event.event in _DECISIVE_NAMES):
            self._look_closer(event, made)
        else:
            self._add_text(message.token, made)

    def _end(self, made: list[Frame]) -> None:
        if self._tokens_at_tool_call == self.tokens:
            self._finish(TOOL_CALLS, made)

    def _look_closer(self, event: Event, made: list[Frame]) -> None:
        """Handle an event that is not just a token. First: does it report a failure? Last: does it end the answer?"""
        if event.data.strip() == DONE and event.event != "error":
            self._finish("stop", made)
            return
        try:
            value = json_text.decode_leniently(event.data)
        except ValueError:  # an error that is cut short, or nested too deeply, is still one
            value = {"type": "error"} if _BEGINS_AS_ERROR.match(event.data) else event.data
        self._take_value(event.event, value, made)

    def _take_value(self, name: str, value: Any, made: list[Frame]) -> None:
        """Handle an event that has a name, or none, and any JSON."""
        fields = value if isinstance(value, dict) else {}
        is_last = name == "done" or fields.get("is_final") is True
        if name == "error" or _is_error(fields, is_last=is_last):
            self._fail(value, made)
            return
        kind = fields.get("type")
        if not is_last or not (kind == "done" or (kind is None and name == "done")):
            self._take(fields, made)
        if is_last:
            reason = fields.get("finish_reason")
            default = TOOL_CALLS if kind == "tool_call" else "stop"
            self._finish(reason if isinstance(reason, str) and reason else default, made)

    def _take(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Make the frames of an object, apart from a terminal frame."""
        kind = fields.get("type")
        if not isinstance(kind, str) or not isinstance(fields.get("is_final"), bool | None):
            self._skip("malformed", made)
        elif kind == "assistant_message":
            self._take_text(fields, made)
        else:  # the gateway decides on the end
            self._add_event({name: value for name, value in fields.items() if name != "is_final"}, made)

    def _take_text(self, fields: dict[str, Any], made: list[Frame]) -> None:
        is_final = fields.get("is_final") is True
        text = fields.get("token")
        if text is None:
            text = fields.get("content")
        if text is None and is_final:
            return
        if not isinstance(text, str):
            self._skip("malformed", made)
        elif text or not is_final:
            self._add_text(text, made)

    def _add_event(self, fields: dict[str, Any], made: list[Frame]) -> None:
        passed_on = self._passed_on
        super()._add_event(fields, made)
        if self._passed_on > passed_on:
            self._tokens_at_tool_call = self.tokens if fields["type"] == "tool_call" else -1

    def _skip(self, cause: str, made: list[Frame]) -> None:
        self._tokens_at_tool_call = -1
        super()._skip(cause, made)


def _is_error(fields: dict[str, Any], *, is_last: bool) -> bool:
    """Does an object report that the agent failed? A tool's failure is only an event."""
    kind = fields.get("type")
    if kind == "error":
        return True
    if kind in _TOOL_TYPES or not (is_last or kind == "assistant_message" or not isinstance(kind, str)):
        return False
    is_failure = is_last and (fields.get("finish_reason") == "error" or fields.get("status") in _FAILURES)
    return is_failure or bool(fields.get("error"))


class OwnAgent(AgentProtocol):
    """An agent that speaks the gateway's own protocol, and keeps its conversations itself."""

    keeps_history = True
    is_own = True
    reader_class = AgentEvents

    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """See ``AgentProtocol``."""
        if settings.is_nested:
            body = {"session_id": turn.session_id, "message": turn.message}
        else:
            body = {**turn.message, "session_id": turn.session_id}
        return AgentRequest(settings.path or PATH, body)
