"""Frames as the store keeps them: kind, turn id, a newline and the text. Pure.

A token keeps only what stands between the quotes, other kinds their members and body. JSON text holds no raw control
characters, so newlines and record separators divide it safely.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from relay.protocol import frames
from relay.protocol.frames import Frame, FrameKind

TOKEN_BYTES: Final = len(frames.token_body(""))  # of a token frame around its text
SEPARATOR: Final = b"\x1e"

_KINDS: Final = {str(kind.value): kind for kind in FrameKind}
_TOKEN: Final = FrameKind.TOKEN  # see frames.py
_TOKEN_DIGIT: Final = str(_TOKEN.value)


def encode(frame: Frame) -> str:
    """Write a frame without its offset."""
    if frame.kind is _TOKEN:
        return f"{_TOKEN_DIGIT}{frame.turn_id}\n{frame.token_text}"
    return f"{frame.kind.value}{frame.turn_id}\n{frame.members}\n{frame.body}"


def decode(data: bytes, offset: int) -> Frame:
    """Read a frame that is kept at ``offset``."""
    head, _, text = data.decode().partition("\n")
    kind = _KINDS[head[0]]
    if kind is _TOKEN:
        return Frame(kind, head[1:], frames.token_body(text), "", offset)
    members, _, body = text.partition("\n")
    if kind is FrameKind.USER_MESSAGE:
        return frames.user_message(head[1:], body, offset)
    return Frame(kind, head[1:], body, members, offset)


def decode_all(data: Iterable[bytes], after: int) -> list[Frame]:
    """Read consecutive frames that follow the offset ``after``."""
    return [decode(item, offset) for offset, item in enumerate(data, after + 1)]
