"""What the scripted agent can do in an answer: steps as data."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Send:
    """Bytes of the body, as one chunk."""

    data: bytes


@dataclass(frozen=True)
class Event:
    """One event whose data is this value as JSON."""

    value: object


@dataclass(frozen=True)
class Token:
    """One token of the answer."""

    text: str


@dataclass(frozen=True)
class Final:
    """The final event."""

    finish_reason: str | None = None
    token: str = ""


@dataclass(frozen=True)
class Wait:
    """Go on after so many seconds, or when the event is set."""

    until: float | asyncio.Event


@dataclass(frozen=True)
class Stall:
    """Say nothing more until the client leaves."""


@dataclass(frozen=True)
class Head:
    """Send the response's head now; else it goes out with the first bytes of the body."""


@dataclass(frozen=True)
class ContentType:
    """What the head says instead of ``text/event-stream``."""

    value: str


@dataclass(frozen=True)
class Status:
    """A whole response without a stream. Nothing follows it."""

    code: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"an agent that refuses"


@dataclass(frozen=True)
class SplitBytes:
    """From here on, send the body in chunks of so many bytes."""

    size: int


@dataclass(frozen=True)
class Raw:
    """Bytes past the chunked coding, straight to the socket."""

    data: bytes


@dataclass(frozen=True)
class BadChunk:
    """A chunk size that is no number. The connection stays open."""


@dataclass(frozen=True)
class Break:
    """Close the connection within a chunk, within an event."""


@dataclass(frozen=True)
class Drop:
    """Close the connection as it is: before the head, the client gets no byte."""


@dataclass(frozen=True)
class Reset:
    """Close the connection with RST."""


@dataclass(frozen=True)
class EndlessHeaders:
    """A head that never ends."""


@dataclass(frozen=True)
class CloseWhenReused:
    """Keep the connection alive after this response, and close it when the next request arrives on it."""


Step = (
    Send
    | Event
    | Token
    | Final
    | Wait
    | Stall
    | Head
    | ContentType
    | Status
    | SplitBytes
    | Raw
    | BadChunk
    | Break
    | Drop
    | Reset
    | EndlessHeaders
    | CloseWhenReused
)
Steps = Iterable[Step] | AsyncGenerator[Step, None]


def event_bytes(value: object) -> bytes:
    """One event as it stands on the wire."""
    return f"data: {json.dumps(value)}\n\n".encode()


def token_value(text: str) -> dict[str, object]:
    return {"type": "assistant_message", "token": text, "is_final": False}


def final_value(finish_reason: str | None = None, token: str = "") -> dict[str, object]:
    reason = {} if finish_reason is None else {"finish_reason": finish_reason}
    return {"type": "assistant_message", "token": token, "is_final": True, **reason}
