"""Messages of clients: one type for each kind, one parser, one error."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from relay.exceptions import ClientMessageInvalid, ClientMessageTooLarge
from relay.protocol import json_text

# PROTOCOL: 1–128 of these, and not "." or "..", so that it can be part of a path.
SESSION_ID_PATTERN: Final = r"(?!\.{1,2}/?\Z)[A-Za-z0-9._:~@-]{1,128}"
CLIENT_MESSAGE_ID_PATTERN: Final = r"^[A-Za-z0-9:_-]{1,128}\Z"

TURN_CURSOR_PATTERN: Final = r"^-?[A-Za-z0-9]{0,64}\Z"
DEFAULT_HISTORY_TURNS: Final = 50
MAX_HISTORY_TURNS: Final = 1_000

MAX_NESTING: Final = 100  # others parse it again, with less of Python's stack left than here

_session_id = re.compile(SESSION_ID_PATTERN)
_turn_cursor = re.compile(TURN_CURSOR_PATTERN)


class OnBusy(enum.Enum):
    """The choice for a message that comes while another is being answered."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class StartTurn(msgspec.Struct, frozen=True):
    """A ``user_message`` or a forwarded kind: start a turn.

    ``message`` is the client's message, less ``on_busy``, ``client_message_id`` and ``traceparent``.
    """

    message: dict[str, Any]
    client_message_id: str | None
    on_busy: OnBusy
    traceparent: str | None = None


class Cancel(msgspec.Struct, frozen=True):
    """Stop a turn; without ``turn_id`` the one in flight, otherwise the queue's head."""

    turn_id: str | None = None


class ReadHistory(msgspec.Struct, frozen=True):
    """Send a page of ended turns, newest first; ``before`` is the ``next`` of the page before it."""

    before: Annotated[str, msgspec.Meta(pattern=TURN_CURSOR_PATTERN)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_HISTORY_TURNS)] = DEFAULT_HISTORY_TURNS
    client_message_id: Annotated[str, msgspec.Meta(pattern=CLIENT_MESSAGE_ID_PATTERN)] | None = None


ClientMessage: TypeAlias = StartTurn | Cancel | ReadHistory


class _UserMessageFields(msgspec.Struct):
    content: str


class _ReplacingFields(_UserMessageFields, omit_defaults=True):
    replaces: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None


class _ResumableFields(msgspec.Struct):
    client_message_id: Annotated[str, msgspec.Meta(pattern=CLIENT_MESSAGE_ID_PATTERN)] | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    traceparent: str | None = None


def is_session_id(text: str) -> bool:
    """May this text name a session?"""
    return _session_id.fullmatch(text) is not None


def is_turn_cursor(text: str) -> bool:
    """Has the text the form of the cursor of a page of turns?"""
    return _turn_cursor.fullmatch(text) is not None


def parse_client_message(
    text: str,
    *,
    forward_types: frozenset[str],
    max_message_bytes: int,
    resumable: bool,
    message_fields: frozenset[str] = frozenset(),
    max_depth: int = MAX_NESTING,
) -> ClientMessage:
    """Read one text frame of a client.

    Args:
        text: the frame.
        forward_types: kinds beside ``user_message`` that start a turn and are passed to the agent unchanged.
        max_message_bytes: limit of the frame's UTF-8 bytes.
        resumable: does the client speak ``gateway.v1``? Its additional fields are ignored in a plain client's message.
        message_fields: further fields of a ``user_message`` that are passed to the agent; others are ignored.
        max_depth: how deeply objects and arrays may be nested in a message to the agent.

    Raises:
        ClientMessageTooLarge: over the limit.
        ClientMessageInvalid: not a JSON object of a known type with valid fields.
    """
    if len(text) > max_message_bytes or len(text.encode("utf-8", "surrogatepass")) > max_message_bytes:
        raise ClientMessageTooLarge(max_message_bytes)
    try:
        fields = json_text.decode(text)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        return _parse_fields(fields, forward_types, message_fields, resumable, max_depth)
    except ValueError as exc:  # msgspec.ValidationError is one
        raise ClientMessageInvalid from exc


def parse_turn(
    fields: dict[str, Any],
    *,
    forward_types: frozenset[str],
    message_fields: frozenset[str] = frozenset(),
    max_depth: int = MAX_NESTING,
) -> StartTurn:
    """Read a message that starts a turn, already decoded; it may have all fields of ``gateway.v1``.

    Raises:
        ClientMessageInvalid: not a known type with valid fields.
    """
    try:
        message = _parse_fields(fields, forward_types, message_fields, True, max_depth)
    except ValueError as exc:
        raise ClientMessageInvalid from exc
    if not isinstance(message, StartTurn):
        raise ClientMessageInvalid
    return message


def _parse_fields(
    fields: dict[str, Any],
    forward_types: frozenset[str],
    message_fields: frozenset[str],
    resumable: bool,
    max_depth: int,
) -> ClientMessage:
    kind = fields.get("type")
    if kind == "cancel":
        return msgspec.convert(fields, Cancel) if resumable else Cancel()
    if kind == "user_message":
        own_fields = _ReplacingFields if resumable else _UserMessageFields
        message = {"type": kind, **msgspec.to_builtins(msgspec.convert(fields, own_fields))}
        message |= {name: value for name, value in fields.items() if name in message_fields}
    elif isinstance(kind, str) and kind in forward_types:
        own = ("client_message_id", "on_busy", "traceparent")
        message = {name: value for name, value in fields.items() if name not in own}
    elif kind == "history" and resumable:
        return msgspec.convert(fields, ReadHistory)
    else:
        raise ValueError("unknown type")
    if is_deeper_than(max_depth, message):
        raise ValueError("nested too deeply")
    options = msgspec.convert(fields, _ResumableFields) if resumable else _ResumableFields()
    return StartTurn(message, options.client_message_id, options.on_busy, options.traceparent)


def is_deeper_than(levels: int, value: Any) -> bool:
    """Is this JSON value (hence ``Any``) nested deeper than a number of levels?"""
    level = [value]
    for _ in range(levels):
        if not level:
            return False
        level = [inner for outer in level for inner in _inner(outer)]
    return any(isinstance(value, dict | list) for value in level)


def _inner(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
