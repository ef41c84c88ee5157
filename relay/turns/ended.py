"""Describes a turn's end, for the receivers of webhooks and of the signal ``turn_ended``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from relay.agent.protocols.base import INTERRUPT
from relay.conf import conf
from relay.layers.values import NewNotification, message_text
from relay.protocol import json_text
from relay.protocol.frames import CANCELLED, Frame, FrameKind
from relay.protocol.text import clean
from relay.signals import EndType, TurnEnded
from relay.turns.recorder import TurnRecorder

MAX_CHARACTERS: Final = 8_192  # of each text: receivers want no more than 20 kB, and the outbox holds thousands


def describe_end(recorder: TurnRecorder, terminal: Frame) -> TurnEnded:
    """Describe a turn that ends, or has ended, with a terminal frame."""
    turn, is_known = recorder.turn, recorder.is_known
    if recorder.ended_at is None:
        recorder.ended_at = datetime.now(UTC)
    fields = json_text.decode(terminal.v1)
    is_error = terminal.kind is FrameKind.ERROR
    finish_reason = "error" if is_error else fields["finish_reason"]
    return TurnEnded(
        type="turn.failed" if is_error else _type(finish_reason, asks=bool(recorder.parts.questions)),
        session_id=turn.session_id,
        turn_id=turn.turn_id,
        subject=None if turn.subject is None else clean(turn.subject),
        finish_reason=clean(finish_reason),
        error_code=fields["code"] if is_error else None,
        started_at=recorder.ended_at - timedelta(seconds=recorder.elapsed_seconds) if is_known else None,
        ended_at=recorder.ended_at,
        tokens=recorder.tokens if is_known else None,
        input_tokens=recorder.usage.input_tokens,
        output_tokens=recorder.usage.output_tokens,
        **(_content(recorder, fields["content"] if is_error else None) if conf.webhook_content else {}),
    )


def _type(finish_reason: str, *, asks: bool) -> EndType:
    if finish_reason == CANCELLED:
        return "turn.cancelled"
    return "turn.waiting" if asks or finish_reason == INTERRUPT else "turn.completed"


def notification(recorder: TurnRecorder, terminal: Frame) -> NewNotification:
    """Write the webhook of a turn that ends with a terminal frame, or is cancelled meanwhile."""
    ended = describe_end(recorder, terminal)
    cancelled = msgspec.structs.replace(
        ended, type="turn.cancelled", finish_reason=CANCELLED, error_code=None, error=None
    )
    return NewNotification(
        text=_webhook(ended),
        cancelled_text=_webhook(cancelled),
        if_unwatched=conf.webhook_when == "unwatched",
    )


def _webhook(ended: TurnEnded) -> str:
    """Write a webhook's body; empty if operators did not ask for its type."""
    if ended.type not in conf.webhook_events:
        return ""
    data = msgspec.to_builtins(ended)
    return json_text.encode({"type": data.pop("type"), "timestamp": data["ended_at"], "data": data})


def _content(recorder: TurnRecorder, error: str | None) -> dict[str, Any]:
    """Return the texts of a turn, and whether one was cut. ``Any``: texts, and a boolean."""
    texts = {
        "message": clean(message_text(recorder.turn.message)),
        "answer": clean(json_text.decode(f'"{recorder.answer}"')),
        "error": None if error is None else clean(error),
    }
    cut = {name: text if text is None else text[:MAX_CHARACTERS] for name, text in texts.items()}
    return {**cut, "is_cut": cut != texts}
