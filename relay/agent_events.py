"""What the agent says, made into frames of one turn. Pure: PROTOCOL's "The agent's side", row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from relay import frames, json_text
from relay.event_stream import Event
from relay.exceptions import UpstreamError, UpstreamProtocol
from relay.frames import Frame

DONE: Final = "[DONE]"  # how OpenAI's streams end
MAX_REASON_CHARACTERS: Final = 100  # a session remembers the ends of its last 1,000 turns

# The gateway's own types: from an agent they would deceive a client.
RESERVED_TYPES: Final = frozenset(
    ["welcome", "snapshot", "user_message", "accepted", "cancel", "cancel_ack", "ping", "notice", "disconnect"]
)

_NOTICES: Final = {
    "malformed": "An event of the agent could not be understood and was left out.",
    "reserved": "An event of the agent had a type that only the gateway may use and was left out.",
}


class _AssistantMessage(msgspec.Struct):
    type: Literal["assistant_message"]  # not a tag: a tag may be missing
    token: str | msgspec.UnsetType = msgspec.UNSET
    is_final: bool = False
    finish_reason: str | None = None


_assistant_message = msgspec.json.Decoder(_AssistantMessage)


class AgentEvents:
    """Reads one answer.

    Attributes:
        is_over: has the terminal frame been given?
        tokens: how many tokens were given; empty ones do not count.
        late: how many events came after the terminal frame, and were dropped.
        skipped: how many were not passed on, by cause.
    """

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        self.is_over = False
        self.tokens = 0
        self.late = 0
        self.skipped = {"malformed": 0, "reserved": 0}
        self._turn_id = turn_id
        self._bytes_left = max_turn_bytes
        self._redact = redact

    def frames(self, events: Iterable[Event]) -> list[Frame]:
        """Give the frames for some events; the last of all is terminal.

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
                self._assistant_message(_assistant_message.decode(data), made)
            except (ValueError, RecursionError):  # not that, or not quite: look closer
                self._other(data, made)
        return made

    def take_lone_token(self, data: str, take: Callable[[Frame], bool]) -> bool:
        """Hand over the frame of an event that is a token and nothing else. If it is not, or is not taken, nothing
        has happened, and ``frames`` does it."""
        size = len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
        if self.is_over or size > self._bytes_left:
            return False
        try:
            message = _assistant_message.decode(data)
        except (ValueError, RecursionError):
            return False
        if not message.token or message.is_final or not take(frames.token(self._turn_id, message.token)):
            return False
        self._bytes_left -= size
        self.tokens += 1
        return True

    def _assistant_message(self, message: _AssistantMessage, made: list[Frame]) -> None:
        text = message.token
        if isinstance(text, msgspec.UnsetType):
            if not message.is_final:
                raise ValueError("a token is missing")
        elif text or not message.is_final:
            self.tokens += text != ""
            made.append(frames.token(self._turn_id, text))
        if message.is_final:
            reason = (message.finish_reason or "stop")[:MAX_REASON_CHARACTERS]
            self._end(frames.final(self._turn_id, reason), made)

    def _other(self, data: str, made: list[Frame]) -> None:
        if data.strip() == DONE:
            self._end(frames.final(self._turn_id), made)
            return
        try:
            self._object(json_text.decode(data), made)
        except (ValueError, RecursionError):
            self._skip("malformed", made)

    def _object(self, fields: Any, made: list[Frame]) -> None:
        if not isinstance(fields, dict) or not isinstance(kind := fields.get("type"), str):
            raise ValueError("not an object with a type")
        if kind == "assistant_message":  # with half a character, which the fast decoder refuses
            self._assistant_message(msgspec.convert(fields, _AssistantMessage), made)
        elif kind == "error":
            self._end(frames.error(self._turn_id, self._error(fields.get("content", ""))), made)
        elif kind in RESERVED_TYPES:
            self._skip("reserved", made)
        else:
            made.append(frames.event(self._turn_id, fields))

    def _error(self, content: Any) -> UpstreamError:
        if not isinstance(content, str):
            raise ValueError("an error without words")
        words = self._redact(content)
        return UpstreamError(words) if words else UpstreamError()

    def _skip(self, cause: str, made: list[Frame]) -> None:
        self.skipped[cause] += 1
        if self.skipped[cause] == 1:  # once a turn and cause
            made.append(frames.notice(self._turn_id, "upstream_event_skipped", _NOTICES[cause]))

    def _end(self, terminal: Frame, made: list[Frame]) -> None:
        self.is_over = True
        made.append(terminal)
