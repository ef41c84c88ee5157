"""The interface of a front end's protocol: its request into a message, a turn's frames into its events. Pure.

A translator reads one turn's frames from the first one on. Its state follows from the frames alone, so a client that
returns needs nothing kept: the same frames give the same events.
"""

from __future__ import annotations

import abc
import base64
import hashlib
import re
from typing import Any, Final, NamedTuple

from relay.exceptions import ClientMessageTooLarge, ParameterInvalid
from relay.protocol import json_text
from relay.protocol.client_messages import CLIENT_MESSAGE_ID_PATTERN, OnBusy, StartTurn, is_session_id
from relay.protocol.frames import Frame, FrameKind, Snapshot

MAPPED: Final = "~"  # how a session id starts that stands for a front end's id of other characters
MAX_MAPPED_BYTES: Final = 95  # so many are 127 characters of base64

# Members of a message that the gateway writes itself.
OWN_MEMBERS: Final = frozenset(["type", "content", "session_id", "client_message_id", "on_busy", "traceparent"])

_message_id = re.compile(CLIENT_MESSAGE_ID_PATTERN)

_TOKEN, _USER_MESSAGE, _EVENT = FrameKind.TOKEN, FrameKind.USER_MESSAGE, FrameKind.EVENT
_NOTICE, _FINAL = FrameKind.NOTICE, FrameKind.FINAL


class ChatRequest(NamedTuple):
    """A front end's request that starts a turn."""

    session_id: str
    message: StartTurn


class Limits(NamedTuple):
    """The limits of a request.

    Attributes:
        forward_types: kinds beside ``user_message`` that start a turn.
        max_message_bytes: of the UTF-8 of the last message's words; the conversation before them is not kept.
        message_fields: members of a request that go to the agent beside the words, in protocols that do not pass all.
    """

    forward_types: frozenset[str]
    max_message_bytes: int
    message_fields: frozenset[str] = frozenset()


class Translator(abc.ABC):
    """Translates the frames of one turn. Each event is a JSON text.

    Attributes:
        is_over: was the turn's end translated? Whatever stops before has broken off, and must look so.
    """

    def __init__(self, turn_id: str) -> None:
        self.turn_id = turn_id
        self.is_over = False

    def events(self, frame: Frame) -> list[str]:
        """Return the events for the turn's next frame."""
        kind = frame.kind
        if kind is _TOKEN:
            return self.on_text(frame.token_text) if frame.token_text else []
        if kind is _USER_MESSAGE:
            return self.on_start()
        fields: dict[str, Any] = json_text.decode(frame.v1)
        for name in ("turn_id", "offset"):
            del fields[name]
        if kind is _NOTICE and fields["type"] == "notice":
            return self.on_notice(fields)
        if kind in (_EVENT, _NOTICE):
            return self.on_event(fields)
        is_final = kind is _FINAL
        events = (
            self.on_final(fields["finish_reason"]) if is_final else self.on_error(fields["content"], fields["code"])
        )
        self.is_over = True  # not where that has failed
        return events

    def snapshot(self, snapshot: Snapshot) -> list[str]:
        """Return the events for a turn of which the first frames are gone: its whole text as one piece."""
        events = self.on_start()
        if snapshot.text:
            events += self.on_text(snapshot.text)
        if snapshot.terminal is not None:
            events += self.events(snapshot.terminal)
        return events

    @abc.abstractmethod
    def on_start(self) -> list[str]:
        """Start the answer."""

    @abc.abstractmethod
    def on_text(self, text: str) -> list[str]:
        """Write a token, given as it stands between the quotes of a JSON string."""

    @abc.abstractmethod
    def on_event(self, fields: dict[str, Any]) -> list[str]:
        """Write another event of the agent (any JSON) with a text as ``type``."""

    @abc.abstractmethod
    def on_notice(self, fields: dict[str, Any]) -> list[str]:
        """Write a notice of the gateway: ``code`` and ``content``."""

    @abc.abstractmethod
    def on_final(self, finish_reason: str) -> list[str]:
        """End the answer: ``cancelled``, ``interrupt``, or what the agent said."""

    @abc.abstractmethod
    def on_error(self, words: str, code: str) -> list[str]:
        """End the answer as an error."""


def last_message(body: dict[str, Any]) -> dict[str, Any]:
    """Return the last of a body's ``messages`` (any JSON), which is the new one.

    Raises:
        ParameterInvalid: there is none.
    """
    messages = body.get("messages")
    message = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(message, dict):
        raise ParameterInvalid("messages must have a message.")
    return message


def user_message(
    message: dict[str, Any], content: Any, message_id: str | None, fields: dict[str, Any], limits: Limits
) -> StartTurn:
    """Return the message for a user's; ``fields`` go to the agent beside its words, as ``parts`` that are no text do.

    Args:
        message, fields: any JSON.
        content: the message's content or parts; any JSON.

    Raises:
        ParameterInvalid: it is not the user's, or empty.
        ClientMessageTooLarge: its words are above ``max_message_bytes``.
    """
    if message.get("role") != "user":
        raise ParameterInvalid("the last message must be the user's.")
    words, others = split_content(content)
    if not words and not others:
        raise ParameterInvalid("the last message is empty.")
    beside = {**fields, "parts": others} if others else fields
    return _start_turn({"type": "user_message", "content": words}, message_id, beside, limits)


def forwarded(kind: str, message_id: str | None, fields: dict[str, Any], limits: Limits) -> StartTurn:
    """Return the message for another request, if the gateway forwards its kind to the agent.

    Raises:
        ParameterInvalid: it does not.
        ClientMessageTooLarge: the message is above ``max_message_bytes``.
    """
    if kind not in limits.forward_types:
        raise ParameterInvalid(f"this gateway does not forward {kind}; GATEWAY__FORWARD_TYPES lists what it forwards.")
    return _start_turn({"type": kind}, message_id, fields, limits)


def _start_turn(message: dict[str, Any], message_id: str | None, fields: dict[str, Any], limits: Limits) -> StartTurn:
    others = {name: value for name, value in fields.items() if name not in OWN_MEMBERS}
    size = len(json_text.encode(message if "content" in message else {**message, **others}).encode())
    if size > limits.max_message_bytes:
        raise ClientMessageTooLarge(limits.max_message_bytes)
    return StartTurn({**message, **others}, message_id, OnBusy.ENQUEUE)


def split_content(content: Any) -> tuple[str, list[Any]]:
    """Return the words of a message's content or parts (any JSON), joined, and its parts that are no text."""
    if isinstance(content, str):
        return content, []
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if _is_text(part)), [part for part in parts if not _is_text(part)]


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def message_id_of(foreign_id: Any) -> str | None:
    """Return the ``client_message_id`` for a front end's own name of a message (any JSON); ``None`` without one.

    A text that may not be one is replaced by its SHA-256, so that the same text is the same message.
    """
    if not isinstance(foreign_id, str) or not foreign_id:
        return None
    if _message_id.match(foreign_id):
        return foreign_id
    return "sha256:" + hashlib.sha256(foreign_id.encode("utf-8", "surrogatepass")).hexdigest()


def tool_call_of(fields: dict[str, Any]) -> tuple[str, str]:
    """Return a tool call's id and the tool's name, in either spelling; empty where it is missing."""
    call_id = fields.get("call_id") or fields.get("tool_call_id") or ""
    return str(call_id), str(fields.get("tool_name") or fields.get("name") or "")


def asked_call_id(fields: dict[str, Any]) -> str:
    """Return the id of the earlier call that a question of the agent is about; empty if it names none."""
    call = fields.get("tool_call")
    return tool_call_of(call)[0] if isinstance(call, dict) and fields.get("requires_approval") else ""


def session_id_of(foreign_id: Any, name: str) -> str:
    """Return the session that a front end's id (any JSON) names.

    An id that may name a session is one, unless it starts with ``~``. Of any other text the UTF-8 bytes are written in
    base64 (RFC 4648 §5, without padding) behind a ``~``.

    Raises:
        ParameterInvalid: no text, or too long.
    """
    if not isinstance(foreign_id, str) or not foreign_id:
        raise ParameterInvalid(f"{name} is missing.")
    if is_session_id(foreign_id) and not foreign_id.startswith(MAPPED):
        return foreign_id
    raw = foreign_id.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_MAPPED_BYTES:
        raise ParameterInvalid(f"{name} must be at most 128 letters and digits, or {MAX_MAPPED_BYTES} bytes.")
    return MAPPED + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def foreign_id_of(session_id: str) -> str:
    """Return the front end's id that ``session_id_of`` has mapped to this session."""
    if not session_id.startswith(MAPPED):
        return session_id
    text = session_id[len(MAPPED) :]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "surrogatepass")
