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

from relay.agent.protocols.any_json import error_words
from relay.agent.protocols.run import Run, RunLost
from relay.agent.protocols.vocabulary import Usage
from relay.exceptions import (
    AnswerNotUnderstood,
    AnswerTooLong,
    RelayError,
    TooManyToolCalls,
    UpstreamEof,
    UpstreamError,
)
from relay.layers.values import AgentPosition, Turn
from relay.protocol import frames, json_text
from relay.protocol.event_stream import Event
from relay.protocol.frames import Frame, FrameKind

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
        may_resume: may the answer continue after its connection broke? Set before the first event.
        run: the agent's run that can be rejoined; ``None``: there is none, or it is not known yet.
        wants_whole: must ``result_request`` be sent? An event came whose place in the run is not known; until there is
            an answer, others are left out.
    """

    is_resumed_if_told: ClassVar[bool] = False  # is the answer only resumed where ``AGENT_RESUMES`` says so?
    run: Run | None = None
    may_resume = False
    wants_whole = False
    _repeated: Sequence[Frame] = ()  # in the log already, and about to be made again; the last one first

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
        """Return the frames for some events; the last of all is terminal. Events that were read before give none.

        Raises:
            UpstreamProtocol: the answer is above ``max_turn_bytes``.
            RunLost: the run does not continue where the answer is.
        """
        made: list[Frame] = []
        for event in events:
            if self.is_over:
                self.late += 1
                continue
            data, run = event.data, self.run
            if run is not None and run.is_checking and run.is_known(self._cursor(event), data):
                continue
            self._bytes_left -= len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
            if self._bytes_left < 0:
                raise AnswerTooLong
            if run is not None:
                self._read_on(run, event, made)
                continue
            self._read(event, made)
            if self.run is not None and not self.run.read(self._cursor_read(event), event.data, 0):
                self.run = None
        return made

    def _read_on(self, run: Run, event: Event, made: list[Frame]) -> None:
        before = len(made)
        self._read(event, made)
        if (
            not run.read(self._cursor_read(event), event.data, len(made) - before, is_last=self.is_over)
            and not self.is_over
        ):
            self.run = None
        if self._repeated:
            self._drop_repeated(made, before)

    def _drop_repeated(self, made: list[Frame], start: int) -> None:
        repeated = list(self._repeated)
        while repeated and start < len(made):
            expected, frame = repeated.pop(), made.pop(start)
            if (expected.kind, expected.body) != (frame.kind, frame.body):
                raise RunLost
        self._repeated = repeated

    def end_of_body(self, *, is_within_event: bool) -> list[Frame]:
        """Return the last frames of an answer whose body has ended without a terminal frame.

        Raises:
            UpstreamEof: nothing indicates that the agent meant to end here.
            RunLost: the log has more of the answer than this run.
        """
        made: list[Frame] = []
        if self._repeated:
            raise RunLost
        if not is_within_event and not (self.run is not None and self.run.is_behind):
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

    # A run that can be rejoined. A protocol that knows such runs sets ``run``, and overrides these.

    @property
    def position(self) -> AgentPosition | None:
        """How far the answer is, for another reader; ``None``: no other one can continue."""
        return None if self.run is None else self.run.position

    def rejoin_request(self, asked: AgentRequest) -> AgentRequest | None:
        """Return the request that continues with the run behind what was read; ``None``: it cannot be rejoined."""
        return None

    def result_request(self, asked: AgentRequest) -> AgentRequest | None:
        """Return the request for the run as a whole, as one event; ``None``: there is none.

        It is sent once a run cannot be rejoined because it has ended, and while ``wants_whole``.
        """
        return None

    def rejoined(self) -> None:
        """Take note that the next events come over another connection."""
        if self.run is not None:
            self.run.rejoin()

    def take_over(self, position: AgentPosition, so_far: Sequence[Frame], *, is_whole: bool) -> bool:
        """Go on where another reader ended. Returns whether that is possible.

        Args:
            so_far: the frames of the answer in the log.
            is_whole: are they all of them? The oldest may be gone.
        """
        return False

    def _count(self, so_far: Iterable[Frame]) -> str:
        """Count frames that another reader made. Returns the type of the last one, if it is an event."""
        kind = ""
        for frame in so_far:
            kind = ""
            if frame.kind is FrameKind.TOKEN:
                self.tokens += frame.token_text != ""
                continue
            fields = json_text.decode(frame.body)
            if frame.kind is FrameKind.NOTICE:
                cause = next((cause for cause, words in _NOTICES.items() if words == fields.get("content")), None)
                self.skipped.update({cause: 1} if cause is not None else {})
                continue
            kind = fields["type"]
            self._passed_on += 1
            if kind == "usage":
                self.usage.add(fields)
        return kind

    def _cursor(self, event: Event) -> str:
        """Return the agent's name for an event; empty if it gave none."""
        return event.last_event_id

    def _cursor_read(self, event: Event) -> str:
        """Return the same of the event that ``_read`` has just read, without parsing it again. Overridden with it."""
        return event.last_event_id

    def _replay(self, run: Run, so_far: Sequence[Frame]) -> None:
        """Read a run from its start, and drop the frames that another reader made of it."""
        self.run = run
        run.rejoin()
        self._repeated = so_far[::-1]

    @property
    def _is_untouched(self) -> bool:
        """Has no event given anything yet? Only then is the first event of a run the first of the answer."""
        return not (self.tokens or self._passed_on or any(self.skipped.values()))

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


def check_calls(gathered: int) -> None:
    """Refuse one more tool call, if so many are gathered that no model means them.

    Raises:
        UpstreamProtocol: they are ``MAX_CALLS``.
    """
    if gathered >= MAX_CALLS:
        raise TooManyToolCalls


def path_segment(agent_id: str) -> str:
    """Quote an agent's id for a path; empty if it is too long, has no characters that can be sent, or is a folder."""
    if len(agent_id) > MAX_ID_CHARACTERS or agent_id in (".", ".."):
        return ""
    return quote(agent_id, safe="", errors="ignore")
