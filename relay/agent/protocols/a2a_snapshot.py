"""A snapshot of an A2A task against what was said of it: only the missing rest is given out, never a splice. Pure.

Texts are compared however they are cut: neighbouring ones count as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from relay.agent.protocols.run import RunLost
from relay.protocol.frames import Frame, FrameKind, token_body


def rest_of(said: Iterable[Any], whole: Iterable[Any]) -> list[Any] | None:
    """Return what the whole has behind what was said; ``None``: it does not begin with that.

    Args:
        said: texts, and anything else that can be compared.
        whole: the same.
    """
    before, found = _joined(said), _joined(whole)
    if not before:
        return found
    last = before.pop()
    at = len(before)
    if len(found) <= at or found[:at] != before:
        return None
    if isinstance(last, str) and isinstance(found[at], str) and found[at].startswith(last):
        return [*filter(None, [found[at].removeprefix(last)]), *found[at + 1 :]]
    return found[at + 1 :] if found[at] == last else None


def frames_behind(so_far: Sequence[Frame], frames: Sequence[Frame], turn_id: str) -> list[Frame]:
    """Return the frames that a whole answer has behind those so far.

    Raises:
        RunLost: it does not begin with them.
    """
    rest = rest_of(map(_item, so_far), map(_item, frames))
    if rest is None:
        raise RunLost
    return [_frame(item, turn_id) for item in rest]


def _item(frame: Frame) -> str | tuple[FrameKind, str, str]:
    return frame.token_text if frame.kind is FrameKind.TOKEN else (frame.kind, frame.body, frame.members)


def _frame(item: Any, turn_id: str) -> Frame:
    if isinstance(item, str):
        return Frame(FrameKind.TOKEN, turn_id, token_body(item))
    kind, body, members = item
    return Frame(kind, turn_id, body, members)


def _joined(items: Iterable[Any]) -> list[Any]:
    """Join neighbouring texts, and leave out empty ones."""
    joined: list[Any] = []
    for is_text, run in groupby(items, lambda item: isinstance(item, str)):
        found = list(run)
        joined += filter(None, ["".join(found)]) if is_text else found
    return joined
