"""Server-sent events, both ways: bytes to events, events to bytes.

Source of every rule: HTML standard, server-sent events, "Parsing an event stream" and "Interpreting an event
stream" (https://html.spec.whatwg.org/multipage/server-sent-events.html §9.2.5 and §9.2.6).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_BREAKS_A_FIELD: Final = re.compile(r"[\r\n\0]")
_MAX_RETRY_DIGITS: Final = 15  # 30,000 years; int() of an endless number is slow, then refuses


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream.

    ``event`` is ``""`` where the stream gives no name (a browser calls that one ``message``);
    ``last_event_id`` is the newest id of the stream so far, also if this event brought none.
    """

    data: str
    event: str
    last_event_id: str


class EventTooLarge(ValueError):
    """An event, or a single line, grew above ``max_event_bytes``.

    ``events`` are those that the same chunk completed before it, so that none is lost.
    """

    def __init__(self, max_event_bytes: int, events: tuple[Event, ...] = ()) -> None:
        super().__init__(max_event_bytes)
        self.max_event_bytes = max_event_bytes
        self.events = events

    def __str__(self) -> str:
        return f"an event is larger than {self.max_event_bytes:,} bytes"


class EventStreamDecoder:
    """Decode the bytes of one stream; where they are cut into chunks makes no difference.

    An event that is incomplete when the stream ends is never returned, as the standard says.

    Args:
        max_event_bytes: limit of the bytes of one event: its lines without their ends and without comments, which
            count only while they arrive. No more bytes than that are kept between two chunks.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self.retry_milliseconds: int | None = None
        """The reconnection time that the stream asked for last; ``None`` if it never did."""
        self.last_event_id = ""
        """The id to come back with: of the newest event that is complete, also if that had no data."""
        self._max_event_bytes = max_event_bytes
        self._at_start = True  # a byte order mark may come
        self._after_cr = False  # a line feed belongs to the carriage return before it
        self._between_events = False  # nothing is kept, so a whole event in one chunk takes the fast path
        self._failed = False
        self._line = bytearray()
        self._event_bytes = 0
        self._data = bytearray()
        self._event_type = b""
        self._event_id = ""

    @property
    def is_within_event(self) -> bool:
        """Is an event or a line incomplete? A stream that ends here has broken off."""
        return bool(self._event_bytes or self._line)

    def feed(self, chunk: bytes) -> list[Event]:
        """Decode the next bytes and return the events that they complete.

        Raises:
            EventTooLarge: the event being received is above the limit. The decoder is unusable then: every
                later call raises it again.
        """
        data = self._lone_data(chunk)
        if data is None and self._between_events and chunk[:4] == b"id: ":
            data = self._lone_data_with_id(chunk)
        if data is not None:
            return [Event(data, "", self.last_event_id)]
        if self._failed:
            raise EventTooLarge(self._max_event_bytes)
        if self._at_start:
            chunk = self._without_byte_order_mark(chunk)
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk[1:] if chunk[0] == _LF else chunk
        events: list[Event] = []
        if chunk:
            self._take_lines(chunk, events)
        self._between_events = not (self._at_start or self._after_cr or self._event_bytes or self._line)
        return events

    def _lone_data(self, chunk: bytes) -> str | None:
        """Return the data of a chunk that is one whole event of one line, as most are; ``None`` for any other chunk.

        Such a chunk leaves the decoder as it was.
        """
        if not self._between_events or chunk[:6] != b"data: ":
            return None
        lines = chunk.splitlines()
        if len(lines) != 2 or lines[1] or chunk[-1] != _LF or len(lines[0]) > self._max_event_bytes:
            return None
        return lines[0][6:].decode("utf-8", "replace")

    def _lone_data_with_id(self, chunk: bytes) -> str | None:
        """Return the same of a chunk that has a line with an id before it, as those of resumable runs do."""
        line, _, rest = chunk.partition(b"\n")
        data = self._lone_data(rest)
        event_id = line[4:].removesuffix(b"\r")
        if data is None or b"\r" in event_id or b"\0" in event_id or len(chunk) > self._max_event_bytes:
            return None
        self._event_id = self.last_event_id = event_id.decode("utf-8", "replace")
        return data

    def _without_byte_order_mark(self, chunk: bytes) -> bytes:
        chunk = bytes(self._line) + chunk
        self._line.clear()
        if _BYTE_ORDER_MARK.startswith(chunk):
            self._line += chunk  # cannot be decided yet
            return b""
        self._at_start = False
        return chunk.removeprefix(_BYTE_ORDER_MARK)

    def _take_lines(self, chunk: bytes, events: list[Event]) -> None:
        lines = chunk.splitlines()  # of bytes: at CR, LF and CRLF, nowhere else
        self._after_cr = chunk[-1] == _CR
        unfinished = b"" if self._after_cr or chunk[-1] == _LF else lines.pop()
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        for line in lines:
            if not line:
                self._dispatch(events)
            elif self._event_bytes + len(line) > self._max_event_bytes:
                raise self._too_large(events)
            elif line[0] != 0x3A:  # not a comment
                self._event_bytes += len(line)
                self._take_field(line)
        self._line += unfinished
        if self._event_bytes + len(self._line) > self._max_event_bytes:
            raise self._too_large(events)

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data += value
            self._data.append(_LF)
        elif name == b"event":
            self._event_type = value
        elif name == b"id":
            if b"\0" not in value:
                self._event_id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():  # of bytes: ASCII digits
            digits = value.lstrip(b"0") or b"0"
            if len(digits) <= _MAX_RETRY_DIGITS:
                self.retry_milliseconds = int(digits)

    def _dispatch(self, events: list[Event]) -> None:
        self.last_event_id = self._event_id
        if self._data:
            data = self._data[:-1].decode("utf-8", "replace")
            events.append(Event(data, self._event_type.decode("utf-8", "replace"), self._event_id))
            self._data.clear()
        self._event_type = b""
        self._event_bytes = 0

    def _too_large(self, events: list[Event]) -> EventTooLarge:
        self._failed = True
        self._line.clear()
        self._data.clear()
        self._between_events = False
        return EventTooLarge(self._max_event_bytes, tuple(events))


def encode_event(
    data: str, *, event: str | None = None, event_id: str | None = None, retry_milliseconds: int | None = None
) -> bytes:
    """Encode one event. Line breaks within ``data`` (CR, LF, CRLF) arrive as LF.

    Raises:
        ValueError: ``event`` or ``event_id`` holds a line break or NUL, ``retry_milliseconds`` is negative, or a
            text holds half a character, which is not UTF-8.
    """
    fields = ""
    if event is not None:
        fields += f"event: {_checked('event', event)}\n"
    if event_id is not None:
        fields += f"id: {_checked('event_id', event_id)}\n"
    if retry_milliseconds is not None:
        if retry_milliseconds < 0:
            raise ValueError("retry_milliseconds is negative")
        fields += f"retry: {retry_milliseconds}\n"
    return f"{fields}{_prefixed('data: ', data)}\n".encode()


def encode_comment(text: str = "") -> bytes:
    """Encode a comment, a line for each of ``text``: the usual keep-alive.

    No empty line follows: there is no event to end, and some clients would read an empty event.

    Raises:
        ValueError: the text holds half a character, which is not UTF-8.
    """
    return _prefixed(": " if text else ":", text).encode()


def _prefixed(prefix: str, text: str) -> str:
    if "\n" not in text and "\r" not in text:
        return f"{prefix}{text}\n"
    return "".join(f"{prefix}{line}\n" for line in _LINE_END.split(text))


def _checked(name: str, value: str) -> str:
    if _BREAKS_A_FIELD.search(value):
        raise ValueError(f"{name} holds a line break or NUL")
    return value
