"""Records messages and turns: metrics, and one log line each.

While a turn runs only plain numbers are counted; a token costs no more than that here.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from relay.agent.answer import Answer
from relay.agent.failures import Evidence, is_echo
from relay.agent.protocols.vocabulary import Usage
from relay.agent.rejoining import Detachment
from relay.conf import conf
from relay.exceptions import RelayError
from relay.layers.values import Accepted, Turn
from relay.observability import metrics, places
from relay.protocol import frames, json_text
from relay.protocol.frames import Frame
from relay.transcripts.answer_parts import AnswerParts
from relay.transcripts.kept_turn import place_of
from relay.transcripts.rows import EndedTurn

ECHO: Final = "the agent's text repeats part of the conversation: only the transcript has it"

logger = logging.getLogger(__name__)


def message_accepted(session_id: str, accepted: Accepted) -> None:
    """Record a message that was stored."""
    metrics.MESSAGES.labels("duplicate" if accepted.duplicate else "accepted").inc()
    if not accepted.duplicate:
        metrics.QUEUE_DEPTH.observe(accepted.position or 0)
    logger.debug("message accepted", extra={"session_id": session_id, **msgspec.structs.asdict(accepted)})


def message_refused(reason: RelayError) -> None:
    """Record a message, or a cancel, that was refused."""
    metrics.MESSAGES.labels(reason.code).inc()
    logger.debug("message refused: %s", reason.code)


class TurnRecorder:
    """One turn, from its claim to its end.

    Attributes:
        turn: the turn.
        parts: the texts of its tokens, and its events; kept for transcripts, and where the store may lose its own.
        tokens: how many tokens are in the log; empty ones do not count.
        first_token_seconds: from the first claim to the first of them; ``None`` before it, or if another worker had it.
        duration_seconds: from the first claim to the end; 0 before it.
        usage: the tokens that the agent says it has used.
        evidence: the facts that operators need if the turn fails.
        ended_at: set once, when its end is first told of; ``None`` before that.
        is_resumable: has the store a position behind what it has of the answer?
        is_continued: is its answer read on behind what another worker has stored?
        is_handed_over: is it left to another process?
        given_up: its answer, if the store was away for too long to go on with it; the agent is not stopped yet.
        detachments: the times in which the answer was without a connection to the agent.
        error: why it failed, in words for operators; empty if it did not.
        reason: how it ended: ``answered``, ``cancelled``, or an error's code; empty before it.
        terminal: the frame that ended it; ``None`` before it.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.parts = AnswerParts(conf.transcript_events_bytes)
        self.tokens = 0
        self.first_token_seconds: float | None = None
        self.duration_seconds = 0.0
        self.ended_at: datetime | None = None
        self.usage = Usage()
        self.evidence = Evidence()
        self.is_resumable = False
        self.is_continued = False
        self.is_handed_over = False
        self.given_up: Answer | None = None
        self.detachments: list[Detachment] = []
        self.error = ""
        self.reason = ""
        self.terminal: Frame | None = None
        self._intervals = metrics.TOKEN_INTERVAL.labels("")  # looked up once: every token passes here
        self._appended_at = time.monotonic()
        self._started_at = self._appended_at - turn.ran_seconds
        if turn.is_abandoned:
            metrics.TURNS_ABANDONED.inc()
        else:
            metrics.QUEUE_WAIT.observe(turn.waited_seconds)

    @property
    def answer(self) -> str:
        """Its text so far, as it stands between the quotes of a JSON string."""
        return "".join(self.parts.texts)

    def appended(self, tokens: int) -> None:
        """Note that the log now holds ``tokens`` tokens of the turn."""
        if tokens == self.tokens:
            return
        now = time.monotonic()
        if self.tokens:
            self._intervals.observe(now - self._appended_at)
        else:
            self.first_token_seconds = now - self._started_at
        self.tokens = tokens
        self._appended_at = now

    @property
    def elapsed_seconds(self) -> float:
        """How long ago the turn was claimed first."""
        return time.monotonic() - self._started_at

    @property
    def is_known(self) -> bool:
        """Were its beginning and its tokens seen, here or by the worker before?"""
        return self.is_continued or not self.turn.is_abandoned

    def continues(self, tokens: int) -> None:
        """Note that the answer of another worker, with so many tokens, is read on here."""
        self.tokens, self.is_resumable, self.is_continued = tokens, True, True

    def lease_lost(self) -> None:
        """Note that the turn does not end in this worker."""
        metrics.LEASES_LOST.inc()
        logger.warning("turn lost: another worker has taken it over, or its session is gone")

    def handed_over(self) -> None:
        """Note that the turn continues in another process, because this one ends."""
        self.reason = "handed_over"
        metrics.TURNS_HANDED_OVER.inc()
        logger.info("turn handed over: this process ends")

    def finish(self, terminal: Frame) -> None:
        """Count the turn, and write its log line."""
        self.terminal = terminal
        self.reason = frames.outcome(terminal)
        self.duration_seconds = self.elapsed_seconds
        metrics.TURNS.labels(self.reason).inc()
        metrics.TURN_DURATION.observe(self.duration_seconds)
        metrics.TOKENS.inc(self.tokens)
        if self.usage.input_tokens:
            metrics.USAGE_INPUT.inc(self.usage.input_tokens)
        if self.usage.output_tokens:
            metrics.USAGE_OUTPUT.inc(self.usage.output_tokens)
        if self.first_token_seconds is not None:
            metrics.FIRST_TOKEN.observe(self.first_token_seconds)
        first_token_seconds = self.first_token_seconds
        is_error = terminal.kind is frames.FrameKind.ERROR
        if is_error:
            self.error = self.evidence.reason(json_text.decode(terminal.body)["content"])
        logger.log(
            logging.WARNING if is_error else logging.INFO,
            "turn ended: %s",
            self.reason,
            extra={
                "reason": self.reason,
                "tokens": self.tokens,
                "waited_seconds": round(self.turn.waited_seconds, 4),
                "first_token_seconds": None if first_token_seconds is None else round(first_token_seconds, 4),
                "duration_seconds": round(self.duration_seconds, 4),
                **(self._failure() if is_error else {}),
            },
        )

    def _failure(self) -> dict[str, object]:
        """Return the members that the log line of a failed turn has beside the others."""
        evidence, message = self.evidence, self.turn.message
        said = (str(message.get("content", "")), json.dumps(message), self.answer)
        error = ECHO if is_echo(self.error, *said) else self.error
        return {
            "agent": places.agent(),
            "error": error,
            "upstream_status": evidence.status,
            "upstream_content_type": evidence.content_type,
        }


def ended_turn(recorder: TurnRecorder) -> EndedTurn:
    """Sum up a turn that has just ended. Waits for nothing."""
    turn, ended_at, is_known = recorder.turn, datetime.now(UTC), recorder.is_known
    finish_reason, failure = frames.ending(recorder.terminal)
    return EndedTurn(
        turn_id=turn.turn_id,
        session_id=turn.session_id,
        subject=turn.subject,
        message=turn.message,
        answer=recorder.answer,
        reason=recorder.reason,
        tokens=recorder.tokens if is_known else None,
        input_tokens=recorder.usage.input_tokens,
        output_tokens=recorder.usage.output_tokens,
        error=recorder.error,
        upstream_status=recorder.evidence.status if recorder.error else None,
        first_token_seconds=recorder.first_token_seconds,
        duration_seconds=recorder.duration_seconds if is_known else None,
        started_at=ended_at - timedelta(seconds=recorder.duration_seconds) if is_known else None,
        ended_at=ended_at,
        owner=turn.owner,
        place=place_of(turn.epoch, recorder.terminal.offset if recorder.terminal is not None else 0),
        finish_reason=finish_reason or "",
        failure=failure["content"] if failure is not None else "",
        events=recorder.parts.placed_events(),
        events_left_out=recorder.parts.left_out,
        title=recorder.parts.title,
    )
