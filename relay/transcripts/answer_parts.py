"""An answer as it grows: its text and, beside it, the events that are no text. Pure.

Both are kept as the text of their frames, so that nothing is parsed while a turn runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from relay.protocol import json_text
from relay.protocol.frames import CallFrame, Frame, FrameKind
from relay.protocol.text import whole_characters

_TOKEN, _EVENT, _NOTICE = FrameKind.TOKEN, FrameKind.EVENT, FrameKind.NOTICE  # see frames.py
_REASONING_HEAD: Final = '{"type":"reasoning","token":"'
_REASONING_TAIL: Final = '"}'
SESSION_TITLE: Final = "session_title"
_TITLE_MARK: Final = f'"{SESSION_TITLE}"'

PlacedEvent = tuple[int, str]
"""An event's body, and how many characters of the escaped text are before it."""


class AnswerParts:
    """Collects a turn's frames.

    Args:
        max_event_bytes: of all events of the turn together; further ones are left out, and counted.

    Attributes:
        texts: of the tokens, as they stand between the quotes of JSON strings.
        left_out: how many events had no room.
        questions: ids of what the agent asks a person in this turn, and has not settled itself.
        title: the session's title, as the agent's newest event of that kind names it; empty if there is none.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self.texts: list[str] = []
        self.left_out = 0
        self.questions: set[str] = set()
        self.title = ""
        self._room = max_event_bytes
        self._events: list[tuple[int, list[str]]] = []  # texts before it, and its body in pieces
        self._reasons_on = False  # was the last frame a piece of reasoning that has room for more?

    def add(self, frames: Iterable[Frame]) -> None:
        """Take frames of the turn, in order."""
        for frame in frames:
            if frame.kind is _TOKEN:
                if text := frame.token_text:
                    self.texts.append(text)
                    self._reasons_on = False
            elif frame.kind is _EVENT or frame.kind is _NOTICE:
                if isinstance(frame, CallFrame):
                    (self.questions.add if frame.is_question else self.questions.discard)(frame.call_id)
                self._add_event(frame.body)

    def _add_event(self, body: str) -> None:
        piece = _reasoning_piece(body)
        is_more = self._reasons_on and piece is not None
        added = piece if is_more and piece is not None else body
        if _TITLE_MARK in body:
            self.title = _title(body) or self.title
        if len(added) > self._room:
            self.left_out += 1
            self._reasons_on = False
            return
        self._room -= len(added)
        if is_more:
            self._events[-1][1].insert(-1, added)
        elif piece is None:
            self._events.append((len(self.texts), [body]))
        else:
            self._events.append((len(self.texts), [_REASONING_HEAD, piece, _REASONING_TAIL]))
        self._reasons_on = piece is not None

    def placed_events(self) -> tuple[PlacedEvent, ...]:
        """Return the events with their places; neighbouring pieces of reasoning are one event."""
        return tuple(self._placed())

    def _placed(self) -> Iterator[PlacedEvent]:
        start = characters = 0
        for texts_before, pieces in self._events:
            characters += sum(map(len, self.texts[start:texts_before]))
            start = texts_before
            yield characters, "".join(pieces)


def events_text(answer: str, events: Iterable[PlacedEvent]) -> str:
    """Write events as a JSON array of ``{"position": …, "event": …}``, in code points of the answer.

    Args:
        answer: the whole text, as it stands between the quotes of a JSON string.
    """
    items, start, position, is_half = [], 0, 0, False
    for characters, body in events:
        text = json_text.decode(f'"{answer[start:characters]}"')
        position += len(whole_characters(text)) - (is_half and "\udc00" <= text[:1] <= "\udfff")
        is_half = "\ud800" <= text[-1:] <= "\udbff" if text else is_half
        start = characters
        items.append(f'{{"position":{position},"event":{body}}}')
    return f"[{','.join(items)}]"


def _reasoning_piece(body: str) -> str | None:
    """Return the text of a piece of reasoning without other members, as it stands between quotes."""
    if not (body.startswith(_REASONING_HEAD) and body.endswith(_REASONING_TAIL)):
        return None
    piece = body[len(_REASONING_HEAD) : -len(_REASONING_TAIL)]
    return piece if '"' not in piece.replace("\\\\", "").replace('\\"', "") else None


def _title(body: str) -> str:
    fields: dict[str, Any] = json_text.decode(body)  # Any: an agent's event
    title = fields.get("title")
    return title.strip() if fields.get("type") == SESSION_TITLE and isinstance(title, str) else ""
