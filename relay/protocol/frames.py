"""The frames that clients get, in both dialects.

A frame of the log is kept as the text that a plain client reads (``body``); ``gateway.v1``'s members are put in
front of its last brace when it is sent. So a plain viewer costs no encoding, and a ``gateway.v1`` viewer one string.
"""

from __future__ import annotations

import enum
from typing import Any, Final, Literal

import msgspec

from relay.exceptions import RelayError
from relay.protocol import json_text
from relay.protocol.answers import TOOL_RESULT, call_id_of

__all__ = ["CallFrame", "Frame", "FrameKind", "ReplayGap", "Snapshot"]

FinishReason = str  # "stop", "cancelled", or what the agent said
SnapshotReason = Literal["trimmed", "epoch_changed"]

_TOKEN_HEAD: Final = '{"type":"assistant_message","token":"'
_TOKEN_TAIL: Final = '","is_final":false}'
_FINAL_BODY: Final = '{"type":"assistant_message","token":"","is_final":true}'
ANSWERED: Final = "answered"
CANCELLED: Final = "cancelled"
_CANCELLED_MEMBERS: Final = '"finish_reason":"cancelled"'
_RESOLVED_HEAD: Final = '{"type":"pending_resolved",'
_LOG_MEMBERS: Final = frozenset({"turn_id", "offset", "from_offset"})


class FrameKind(enum.IntEnum):
    """The kind of a frame: all that the log and the dialects need to know of it."""

    USER_MESSAGE = 1
    TOKEN = 2
    EVENT = 3
    NOTICE = 4
    FINAL = 5
    ERROR = 6


# Constants for each token's sake: on Python 3.11 the access to an enum's member runs a Python function.
_USER_MESSAGE, _TOKEN, _NOTICE, _FINAL = FrameKind.USER_MESSAGE, FrameKind.TOKEN, FrameKind.NOTICE, FrameKind.FINAL


class CloseCode(enum.IntEnum):
    """Why the server closes a socket; for clients that saw no ``disconnect`` frame."""

    # The client may come back, with the cursor if it has one.
    SERVER_RESTART = 1012
    IDLE = 4408
    RATE_LIMITED = 4429
    STORE_UNAVAILABLE = 4503
    TOO_SLOW = 4508
    # The client must not come back.
    SESSION_DELETED = NORMAL = 1000
    POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1: the client sends what none needs to
    INTERNAL = 1011
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403


COME_BACK: Final = frozenset(
    {
        CloseCode.SERVER_RESTART,
        CloseCode.IDLE,
        CloseCode.RATE_LIMITED,
        CloseCode.STORE_UNAVAILABLE,
        CloseCode.TOO_SLOW,
    }
)


_CLOSE_CODES: Final = {
    "server_restart": CloseCode.SERVER_RESTART,
    "idle": CloseCode.IDLE,
    "rate_limited": CloseCode.RATE_LIMITED,
    "store_unavailable": CloseCode.STORE_UNAVAILABLE,
    "too_slow": CloseCode.TOO_SLOW,
    "session_deleted": CloseCode.SESSION_DELETED,
    "unauthorized": CloseCode.UNAUTHORIZED,
    "forbidden": CloseCode.FORBIDDEN,
    "kicked": CloseCode.FORBIDDEN,
}


def close_code(reason: RelayError) -> CloseCode:
    """Return the close code of a disconnect's reason, as in the table "Leaving" of docs/protocol.md."""
    return _CLOSE_CODES.get(reason.code, CloseCode.INTERNAL)


class Frame(msgspec.Struct, gc=False):
    """One frame of a session's log.

    Attributes:
        kind: see ``FrameKind``.
        turn_id: the frame's turn.
        body: one JSON object: the whole frame as plain clients read it.
        members: JSON members that only ``gateway.v1`` clients get, without braces; may be empty.
        offset: its place in the log, from 1; 0 until it is appended.
    """

    kind: FrameKind
    turn_id: str
    body: str
    members: str = ""
    offset: int = 0

    @property
    def is_terminal(self) -> bool:
        """Is this the frame that ends its turn?"""
        return self.kind >= _FINAL

    @property
    def plain(self) -> str | None:
        """The text for a plain client; ``None`` for frames that only ``gateway.v1`` knows."""
        if self.kind is _USER_MESSAGE or self.kind is _NOTICE:
            return None
        return self.body

    @property
    def v1(self) -> str:
        """The text for a ``gateway.v1`` client."""
        members = f",{self.members}" if self.members else ""
        return f'{self.body[:-1]}{members},"turn_id":"{self.turn_id}","offset":{self.offset}}}'

    @property
    def token_text(self) -> str:
        """A token frame's text as it stands between the quotes of a JSON string; empty for other kinds."""
        if self.kind is not _TOKEN:
            return ""
        return self.body[len(_TOKEN_HEAD) : -len(_TOKEN_TAIL)]

    @property
    def size(self) -> int:
        """The frame's share of ``BUFFER_BYTES``: the characters of its text."""
        return len(self.body) + len(self.members)


class CallFrame(Frame, gc=False):
    """An event of the agent that asks a person, or that says how a tool call ended.

    Attributes:
        call_id: names the question.
        is_question: does the agent ask? If not, the question of that name is settled.
    """

    call_id: str = ""
    is_question: bool = False


class Snapshot(msgspec.Struct, frozen=True):
    """A session's newest turn, for a client whose cursor the log cannot serve.

    ``text`` is written as it stands between the quotes of a JSON string. ``turn_id`` and ``text`` are ``None`` when
    nothing is kept; ``terminal`` is ``None`` while the turn runs, and ``message``, the body of its first frame, once it
    has ended. ``has_history``: can ended turns be read by page?
    """

    epoch: str
    offset: int
    reason: SnapshotReason
    turn_id: str | None = None
    text: str | None = None
    terminal: Frame | None = None
    message: str | None = None
    has_history: bool = False

    @property
    def v1(self) -> str:
        """The ``snapshot`` frame."""
        finish_reason, error = ending(self.terminal)
        head = {"type": "snapshot", "epoch": self.epoch, "turn_id": self.turn_id}
        tail = {
            "offset": self.offset,
            "reason": self.reason,
            "finish_reason": finish_reason,
            "error": error,
            "history": self.has_history,
        }
        content = "null" if self.text is None else f'"{self.text}"'
        spoken = f'"user_message":{self.message or "null"},"content":{content}'
        return f"{json_text.encode(head)[:-1]},{spoken},{json_text.encode(tail)[1:]}"


class ReplayGap(RelayError):
    """Frames after the cursor are gone; ``snapshot`` holds what can be shown instead."""

    code = "replay_gap"
    sentence = "Part of the conversation is no longer available."

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self.snapshot = snapshot


def user_message(turn_id: str, body: str, offset: int = 0) -> Frame:
    """Make a turn's first frame from the client's message (a JSON object), less members with the log's names."""
    if any(f'"{name}":' in body for name in _LOG_MEMBERS):
        body = json_text.encode(_without_log_members(json_text.decode(body)))
    return Frame(_USER_MESSAGE, turn_id, body, "", offset)


def token(turn_id: str, text: str) -> Frame:
    """Make the frame of one token, which may be empty."""
    return Frame(_TOKEN, turn_id, token_body(json_text.encode_string(text)))


def token_body(token_text: str) -> str:
    """Write a plain token frame from text as it stands between the quotes of a JSON string."""
    return f"{_TOKEN_HEAD}{token_text}{_TOKEN_TAIL}"


def event(turn_id: str, fields: dict[str, Any]) -> Frame:
    """Make the frame that forwards another object of the agent (any JSON), less members with the log's names."""
    body = json_text.encode(_without_log_members(fields))
    kind = fields.get("type")
    is_question = kind == "tool_call" and bool(fields.get("requires_approval"))
    if (is_question or kind == TOOL_RESULT) and (call_id := call_id_of(fields)):
        return CallFrame(FrameKind.EVENT, turn_id, body, call_id=call_id, is_question=is_question)
    return Frame(FrameKind.EVENT, turn_id, body)


def pending_resolved(turn_id: str, call_id: str) -> Frame:
    """Make the frame that says which question of the agent a turn's message answers."""
    return Frame(FrameKind.NOTICE, turn_id, json_text.encode({"type": "pending_resolved", "call_id": call_id}))


def is_of_agent(frame: Frame) -> bool:
    """Is it a frame of the agent's answer, and not of the message before it?"""
    return frame.kind is not _USER_MESSAGE and not frame.body.startswith(_RESOLVED_HEAD)


def notice(turn_id: str, code: str, content: str) -> Frame:
    """Make a frame that informs the client and does not end the turn."""
    return Frame(FrameKind.NOTICE, turn_id, json_text.encode({"type": "notice", "code": code, "content": content}))


def operator_notice(content: str) -> str:
    """Write an operator's notice: not in the log, without a ``turn_id``."""
    return json_text.encode({"type": "notice", "code": "operator", "content": content})


def final(turn_id: str, finish_reason: FinishReason = "stop") -> Frame:
    """Make the frame that ends an answer."""
    return Frame(FrameKind.FINAL, turn_id, _FINAL_BODY, f'"finish_reason":{json_text.encode(finish_reason)}')


def error(turn_id: str, reason: RelayError) -> Frame:
    """Make the frame that ends a turn without an answer."""
    return Frame(FrameKind.ERROR, turn_id, plain_error(reason), json_text.encode(_error_members(reason))[1:-1])


def plain_error(reason: RelayError) -> str:
    """Write an error as plain clients read it."""
    return json_text.encode({"type": "error", "content": str(reason)})


def v1_refusal(reason: RelayError, client_message_id: str | None = None) -> str:
    """Write the error that refuses one message: not in the log, without a ``turn_id``."""
    fields = {"type": "error", "content": str(reason), **_error_members(reason)}
    if client_message_id is not None:
        fields["client_message_id"] = client_message_id
    return json_text.encode(fields)


def disconnect(reason: RelayError, close_code: CloseCode, *, delay_ms: int = 0) -> str:
    """Write the frame that a ``gateway.v1`` client gets before the server closes on purpose."""
    return json_text.encode(
        {
            "type": "disconnect",
            "code": reason.code,
            "content": str(reason),
            "reconnect": close_code in COME_BACK,
            "delay_ms": delay_ms,
        }
    )


def merged_tokens(run: list[Frame]) -> str:
    """Write consecutive token frames of one turn as one ``gateway.v1`` frame (``coalesce=1``)."""
    if len(run) == 1:
        return run[0].v1
    first, last = run[0], run[-1]
    body = token_body("".join(frame.token_text for frame in run))
    return f'{body[:-1]},"turn_id":"{last.turn_id}","from_offset":{first.offset},"offset":{last.offset}}}'


def outcome(terminal: Frame) -> str:
    """Name how a turn ended, with few values: ``answered``, ``cancelled``, or its error's code."""
    if terminal.kind is FrameKind.ERROR:
        return error_code(terminal)
    return CANCELLED if terminal.members == _CANCELLED_MEMBERS else ANSWERED


def _without_log_members(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _LOG_MEMBERS}


def _error_members(reason: RelayError) -> dict[str, Any]:
    members: dict[str, Any] = {"code": reason.code}
    if reason.temporary:
        members["retry_after_ms"] = round(reason.retry_after_seconds * 1000)
    return members


def ending(terminal: Frame | None) -> tuple[str | None, dict[str, Any] | None]:
    """Return how a turn ended: ``finish_reason`` and, after an error, its code and text."""
    if terminal is None:
        return None, None
    fields = json_text.decode(terminal.v1)
    if terminal.kind is FrameKind.ERROR:
        return "error", {"code": fields["code"], "content": fields["content"]}
    return fields["finish_reason"], None


def error_code(terminal: Frame) -> str:
    """Read an error frame's code."""
    code: str = json_text.decode(terminal.v1)["code"]
    return code
