"""The interface of an agent protocol: a request for a turn, and a reader of the answer's events. Pure.

A protocol is one file beside this one. It knows neither connections nor settings' names; ``agent/client.py`` knows
HTTP and no protocol. A further protocol is a file, a vector file in ``tests/unit/agent``, and a name in ``__init__``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import msgspec

from relay.agent.protocols.vocabulary import Usage
from relay.exceptions import (
    AnswerNotUnderstood,
    AnswerTooLong,
    RelayError,
    TooManyToolCalls,
    UpstreamEof,
    UpstreamError,
)
from relay.layers.values import Turn
from relay.protocol import frames, json_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame

MAX_CALLS: Final = 1_000  # tool calls gathered at once: no model makes so many, and their frames are made in one go
MAX_ID_CHARACTERS: Final = 1_000  # of an agent's id in a path; a whole address may have 65,536
MAX_REASON_CHARACTERS: Final = 100  # a session remembers the ends of its last 1,000 turns
TOOL_CALLS: Final = "tool_calls"  # the reason of an answer that ends in a tool call
INTERRUPT: Final = "interrupt"  # the reason of an answer that waits for a person

# The gateway's own types: a client would take an agent's event of such a type for the gateway's.
RESERVED_TYPES: Final = frozenset(
    [
        "welcome",
        "snapshot",
        "user_message",
        "accepted",
        "cancel",
        "cancel_ack",
        "ping",
        "notice",
        "pending_resolved",
        "disconnect",
    ]
)

_ERROR_WORDS: Final = ("content", "error", "detail", "message", "msg")  # members in which an error may have its text
_MAX_WORDS_DEPTH: Final = 8
_NOTICES: Final = {
    "malformed": "An event of the agent could not be understood and was left out.",
    "reserved": "An event of the agent had a type that only the gateway may use and was left out.",
}


class PastTurn(NamedTuple):
    """An ended turn of the session, for agents that keep no history: both texts as people read them."""

    message: str
    answer: str


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that a protocol may need.

    Attributes:
        path: of the request; empty: the protocol's own.
        model: the model's, assistant's or agent's name; empty: the protocol's default.
        system_prompt: the text before the history; may be empty.
        is_nested: is the client's message sent as an object of its own? (``agent`` only.)
    """

    path: str = ""
    model: str = ""
    system_prompt: str = ""
    is_nested: bool = False


class AgentRequest(NamedTuple):
    """A request to the agent, apart from the headers that each protocol's requests have."""

    path: str
    body: dict[str, Any] | None
    method: str = "POST"
    headers: Mapping[str, str] = {}


class AgentProtocol(abc.ABC):
    """One kind of agent. Without state: one object serves all turns.

    Attributes:
        keeps_history: does the agent remember the conversation by itself? If not, ``request`` gets its last turns.
        is_own: is it the gateway's own protocol? Only its agents get the internal key.
        reader_class: reads one answer.
    """

    keeps_history: ClassVar[bool] = False
    is_own: ClassVar[bool] = False
    reader_class: ClassVar[type[AnswerReader]]

    @abc.abstractmethod
    def request(self, turn: Turn, history: Sequence[PastTurn], settings: AgentSettings) -> AgentRequest:
        """Return the request that asks the agent for this turn; ``history`` has the oldest turn first."""

    def reader(self, turn: Turn, *, max_turn_bytes: int, redact: Callable[[str], str]) -> AnswerReader:
        """Return a reader of the answer to come, by default a ``reader_class``.

        Args:
            max_turn_bytes: limit of the bytes of all events' data together.
            redact: removes addresses and secrets from an agent's error text.
        """
        return self.reader_class(turn.turn_id, max_turn_bytes=max_turn_bytes, redact=redact)


class AnswerReader(abc.ABC):
    """Reads one answer. A protocol's reader implements ``_read`` and, if need be, ``_end``.

    Attributes:
        is_over: has the terminal frame been returned?
        tokens: how many tokens were returned; empty ones do not count.
        late: how many events came after the terminal frame, and were dropped.
        skipped: how many events were left out, by cause.
        usage: the tokens that the agent says it has used.
    """

    def __init__(self, turn_id: str, *, max_turn_bytes: int, redact: Callable[[str], str]) -> None:
        self.is_over = False
        self.tokens = 0
        self.late = 0
        self.skipped = {"malformed": 0, "reserved": 0}
        self.usage = Usage()
        self._turn_id = turn_id
        self._bytes_left = max_turn_bytes
        self._redact = redact
        self._passed_on = 0  # events that are no tokens

    def opened(self, headers: Mapping[str, str]) -> None:  # noqa: B027 - most protocols have no use for it
        """Look at the head of an answer that is an event stream, before its first event."""

    def frames(self, events: Iterable[Event]) -> list[Frame]:
        """Return the frames for some events; the last of all is terminal.

        Raises:
            UpstreamProtocol: the answer is above ``max_turn_bytes``.
        """
        made: list[Frame] = []
        for event in events:
            if self.is_over:
                self.late += 1
                continue
            data = event.data
            self._bytes_left -= len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
            if self._bytes_left < 0:
                raise AnswerTooLong
            self._read(event, made)
        return made

    def end_of_body(self, *, is_within_event: bool) -> list[Frame]:
        """Return the last frames of an answer whose body has ended without a terminal frame.

        Raises:
            UpstreamEof: nothing indicates that the agent meant to end here.
        """
        made: list[Frame] = []
        if not is_within_event:
            self._end(made)
            if not self.is_over and self._nothing_understood:
                self._finish("stop", made)
        if not self.is_over:
            raise UpstreamEof
        return made

    def refused(self, status: int, body: bytes) -> RelayError | None:
        """Return the error in a response that is no event stream; ``None`` if the protocol knows no such thing."""
        return None

    def stop_request(self, asked: AgentRequest) -> AgentRequest | None:
        """Return the request that stops an answer of which the connection is closed; ``None`` if closing is enough.

        Args:
            asked: the request that was answered; its path gives that of the stop request.
        """
        return None

    @abc.abstractmethod
    def _read(self, event: Event, made: list[Frame]) -> None:
        """Add an event's frames, with ``_add_text``, ``_add_event``, ``_skip``, ``_finish`` and ``_fail``."""

    def _end(self, made: list[Frame]) -> None:  # noqa: B027 - most protocols say the end in an event
        """Finish, if the body may end here, between two events."""

    # The effects of an event. At most one of ``_finish`` and ``_fail`` is called, once.

    def _add_text(self, text: str, made: list[Frame]) -> None:
        """Add a token, which may be empty."""
        self.tokens += text != ""
        made.append(frames.token(self._turn_id, text))

    def _add_event(self, fields: dict[str, Any], made: list[Frame]) -> None:
        """Add an object with a ``type`` (a text), unless only the gateway may use that type."""
        if fields["type"] in RESERVED_TYPES:
            self._skip("reserved", made)
            return
        try:
            frame = frames.event(self._turn_id, fields)
        except RecursionError:
            self._skip("malformed", made)
            return
        made.append(frame)
        self._passed_on += 1
        if fields["type"] == "usage":
            self.usage.add(fields)

    def _pass_on(self, value: Any, made: list[Frame]) -> None:
        """Add what has no meaning in the protocol (any JSON): whole if it is an object with a type of its own.

        An event is never the end by its own word, so it goes without ``is_final``.
        """
        kind = value.get("type") if isinstance(value, dict) else None
        if kind == "error":
            self._fail(value, made)
        elif kind == "assistant_message":
            self._skip("reserved", made)
        elif isinstance(kind, str):
            self._add_event({name: member for name, member in value.items() if name != "is_final"}, made)
        else:
            self._skip("malformed", made)

    def _skip(self, cause: str, made: list[Frame]) -> None:
        """Leave an event out: ``malformed`` or ``reserved``. Clients are told once a turn and cause."""
        self.skipped[cause] += 1
        if self.skipped[cause] == 1:
            made.append(frames.notice(self._turn_id, "upstream_event_skipped", _NOTICES[cause]))

    def _finish(self, reason: str, made: list[Frame]) -> None:
        """End the answer: as a success, unless nothing in it was understood."""
        self.is_over = True
        if self._nothing_understood:
            made.append(frames.error(self._turn_id, AnswerNotUnderstood()))
        else:
            made.append(frames.final(self._turn_id, reason[:MAX_REASON_CHARACTERS]))

    def _fail(self, value: Any, made: list[Frame]) -> None:
        """End the answer as an error, with the words in any JSON."""
        self.is_over = True
        made.append(frames.error(self._turn_id, self._error(value)))

    def _error(self, value: Any) -> UpstreamError:
        """Return the error with the words in any JSON."""
        words = self._redact(error_words(value))
        return UpstreamError(words)

    @property
    def _nothing_understood(self) -> bool:
        return not self.tokens and not self._passed_on and any(self.skipped.values())


def said_before(history: Sequence[PastTurn], system_prompt: str) -> list[tuple[str, str]]:
    """Return role and text of each message that goes before the client's, without empty ones."""
    said = [("system", system_prompt)]
    for past in history:
        said += [("user", past.message), ("assistant", past.answer)]
    return [(role, text) for role, text in said if text]


def json_value(data: str) -> Any:
    """Read an event's data leniently; data that is no JSON is a text."""
    try:
        return json_text.decode_leniently(data)
    except ValueError:
        return data


def is_bare_error(fields: dict[str, Any]) -> bool:
    """Is an object an error by its members alone? Many servers report one in no shape of the protocol."""
    return not isinstance(fields.get("type"), str) and any(map(fields.get, ("error", "detail", "message")))


def error_words(value: Any, depth: int = _MAX_WORDS_DEPTH) -> str:
    """Find the text of an error, whatever its shape (any JSON); empty if there is none."""
    if isinstance(value, str):
        return value
    found: Iterable[str] = ()
    if depth and isinstance(value, list):
        return ", ".join(filter(str.strip, (error_words(item, depth - 1) for item in value)))
    if depth and isinstance(value, dict):
        found = (error_words(value.get(name), depth - 1) for name in _ERROR_WORDS)
    return next(filter(str.strip, found), "")


def check_calls(gathered: int) -> None:
    """Refuse one more tool call, if so many are gathered that no model means them.

    Raises:
        UpstreamProtocol: they are ``MAX_CALLS``.
    """
    if gathered >= MAX_CALLS:
        raise TooManyToolCalls


def text_of(value: Any) -> str:
    """Return a JSON value that is a text; of any other, nothing."""
    return value if isinstance(value, str) else ""


def path_segment(agent_id: str) -> str:
    """Quote an agent's id for a path; empty if it is too long, has no characters that can be sent, or is a folder."""
    if len(agent_id) > MAX_ID_CHARACTERS or agent_id in (".", ".."):
        return ""
    return quote(agent_id, safe="", errors="ignore")
