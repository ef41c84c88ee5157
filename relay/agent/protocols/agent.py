"""Turns the agent's events into frames of one turn. Pure: PROTOCOL's "The agent's side", row by row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from relay.exceptions import UpstreamEof, UpstreamError, UpstreamProtocol
from relay.protocol import frames, json_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

DONE: Final = "[DONE]"  # how OpenAI's streams end
MAX_REASON_CHARACTERS: Final = 100  # a session remembers the ends of its last 1,000 turns
TOOL_CALLS: Final = "tool_calls"  # the reason of an answer that ends in a tool call

# The gateway's own types: a client would take an agent's event of such a type for the gateway's.
RESERVED_TYPES: Final = frozenset(
    ["welcome", "snapshot", "user_message", "accepted", "cancel", "cancel_ack", "ping", "notice", "disconnect"]
)

_DECISIVE_NAMES: Final = frozenset(["error", "done"])  # an event's name that ends the turn, whatever its data is
_ERROR_WORDS: Final = ("content", "error", "detail", "message", "msg")  # members in which an error may have its text
_MAX_WORDS_DEPTH: Final = 8
_BEGINS_AS_ERROR: Final = re.compile(r'\s*\{\s*"type"\s*:\s*"error"')
_FAILURES: Final = ("error", "failed")  # a last event's status; tuples, for any JSON may be looked up in them
_TOOL_TYPES: Final = ("tool_call", "tool_result")
_NOTICES: Final = {
    "malformed": "An event of the agent could not be understood and was left out.",
    "reserved": "An event of the agent had a type that only the gateway may use and was left out.",
}


class _Token(msgspec.Struct):
    """The shape of most events. An event of any other shape goes to ``_look_closer``."""

    type: Literal["assistant_message"]  # not a tag: a tag may be missing
    token: str
    is_final: bool = False
    error: None = None


_token = msgspec.json.Decoder(_Token)


class AgentEvents:
    """Reads one answer.

    Attributes:
        is_over: has the terminal frame been returned?
        tokens: how many tokens were returned; empty ones do not count.
        late: how many events came after the terminal frame, and were dropped.
        skipped: how many events were left out, by cause.
    """

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        self.is_over = False
        self.tokens = 0
        self.late = 0
        self.skipped = {"malformed": 0, "reserved": 0}
        self._turn_id = turn_id
        self._bytes_left = max_turn_bytes
        self._redact = redact
        self._passed_on = 0  # events that are no tokens
        self._tokens_at_tool_call = -1  # equal to ``tokens``: a tool call was the last that came

    def frames(self, events: Iterable[Event]) -> list[Frame]:
        """Return the frames for some events; the last of all is terminal.

        Raises:
            UpstreamProtocol: the answer is above ``max_turn_bytes``.
        """
        made: list[Frame] = []
        for event in events:
            data = event.data
            if self.is_over:
                self.late += 1
                continue
            self._bytes_left -= len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
            if self._bytes_left < 0:
                raise UpstreamProtocol("The agent's answer is too long.")
            try:
                message = _token.decode(data)
            except (ValueError, RecursionError):  # not that, or not quite
                self._look_closer(event, made)
                continue
            if message.is_final or (event.event and event.event in _DECISIVE_NAMES):
                self._look_closer(event, made)
                continue
            self.tokens += message.token != ""
            made.append(frames.token(self._turn_id, message.token))
        return made

    def end_of_body(self, *, is_within_event: bool) -> Frame:
        """Return the terminal frame of an answer whose body has ended without a final event.

        Raises:
            UpstreamEof: nothing indicates that the agent meant to end here.
        """
        if is_within_event or not (self._ends_in_tool_call or self._nothing_understood):
            raise UpstreamEof
        made: list[Frame] = []
        self._finish(TOOL_CALLS, made)
        return made[0]

    @property
    def _ends_in_tool_call(self) -> bool:
        return self._tokens_at_tool_call == self.tokens

    @property
    def _nothing_understood(self) -> bool:
        return not self.tokens and not self._passed_on and any(self.skipped.values())

    def _look_closer(self, event: Event, made: list[Frame]) -> None:
        """Handle an event that is not just a token. First: does it report a failure? Last: does it end the answer?"""
        name = event.event
        if event.data.strip() == DONE and name != "error":
            self._finish("stop", made)
            return
        try:
            value = json_text.decode_leniently(event.data)
        except ValueError:  # an error that is cut short, or nested too deeply, is still one
            value = {"type": "error"} if _BEGINS_AS_ERROR.match(event.data) else event.data
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
        elif kind in RESERVED_TYPES:
            self._skip("reserved", made)
        else:
            self._pass_on(fields, made)

    def _pass_on(self, fields: dict[str, Any], made: list[Frame]) -> None:
        own = {name: value for name, value in fields.items() if name != "is_final"}  # the gateway decides on the end
        try:
            frame = frames.event(self._turn_id, own)
        except RecursionError:
            self._skip("malformed", made)
            return
        made.append(frame)
        self._passed_on += 1
        self._tokens_at_tool_call = self.tokens if fields["type"] == "tool_call" else -1

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
            self.tokens += text != ""
            made.append(frames.token(self._turn_id, text))

    def _skip(self, cause: str, made: list[Frame]) -> None:
        self._tokens_at_tool_call = -1
        self.skipped[cause] += 1
        if self.skipped[cause] == 1:  # once a turn and cause
            made.append(frames.notice(self._turn_id, "upstream_event_skipped", _NOTICES[cause]))

    def _finish(self, reason: str, made: list[Frame]) -> None:
        """End the answer: as a success, unless nothing in it was understood."""
        self.is_over = True
        if self._nothing_understood:
            words = "Nothing in the agent's answer could be understood."
            made.append(frames.error(self._turn_id, UpstreamProtocol(words)))
        else:
            made.append(frames.final(self._turn_id, reason[:MAX_REASON_CHARACTERS]))

    def _fail(self, value: Any, made: list[Frame]) -> None:
        self.is_over = True
        words = self._redact(_words(value))
        made.append(frames.error(self._turn_id, UpstreamError(words) if words else UpstreamError()))


def _is_error(fields: dict[str, Any], *, is_last: bool) -> bool:
    """Does an object report that the agent failed? A tool's failure is only an event."""
    kind = fields.get("type")
    if kind == "error":
        return True
    if kind in _TOOL_TYPES or not (is_last or kind == "assistant_message" or not isinstance(kind, str)):
        return False
    is_failure = is_last and (fields.get("finish_reason") == "error" or fields.get("status") in _FAILURES)
    return is_failure or bool(fields.get("error"))


def _words(value: Any, depth: int = _MAX_WORDS_DEPTH) -> str:
    """Find the text of an error, whatever its shape; empty if there is none."""
    if isinstance(value, str):
        return value
    found: Iterable[str] = ()
    if depth and isinstance(value, list):
        return ", ".join(filter(str.strip, (_words(item, depth - 1) for item in value)))
    if depth and isinstance(value, dict):
        found = (_words(value.get(name), depth - 1) for name in _ERROR_WORDS)
    return next(filter(str.strip, found), "")
