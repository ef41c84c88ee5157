"""Why an agent fails, for operators: for log, transcripts, ``/ready`` and ``doctor``. Without any address."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

import msgspec

from relay.agent.protocols.any_json import error_words
from relay.agent.tls import TlsFailed
from relay.protocol import json_text

MAX_WORDS_CHARACTERS: Final = 200
ECHO_CHARACTERS: Final = 12  # so many of a conversation's in a row are no accident


class Evidence(msgspec.Struct):
    """The facts about an answer that operators need when it fails.

    Attributes:
        status: of the HTTP response; ``None`` before it, and without HTTP.
        content_type: of the response.
        cause: why there was no response, or why it broke off.
        words: the start of a response that is no event stream, without addresses and secrets.
    """

    status: int | None = None
    content_type: str = ""
    cause: str = ""
    words: str = ""

    def reason(self, told: str) -> str:
        """Return why the answer failed; ``told`` are the words that the client was told."""
        words = self.words or told[:MAX_WORDS_CHARACTERS]
        return f"{words} ({self.cause})" if self.cause else words


def words_of(body: bytes) -> str:
    """Return the words of a response that is no event stream: those of an error in JSON, otherwise the text."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        text = error_words(json_text.decode(text)) or text
    return " ".join(text.split())


def is_echo(words: str, *said: str) -> bool:
    """Do an agent's words repeat a part of what was said? Then they are not for the log, which holds no conversation.

    Args:
        said: texts of the conversation, and texts in which they may be repeated, such as their JSON.
    """
    runs = [words[start : start + ECHO_CHARACTERS] for start in range(len(words) - ECHO_CHARACTERS + 1)]
    return any(run in text for text in said for run in runs)


def unreachable_cause(exc: BaseException) -> str:
    """Name the cause of a connection that did not come about, in words that continue "no connection:"."""
    if isinstance(exc, TlsFailed):
        return str(exc)
    cause = exc.__cause__ or exc
    if isinstance(cause, socket.gaierror):
        return "its name is not known to DNS"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection is refused"
    if isinstance(cause, TimeoutError):
        return "it does not answer in time"
    return type(cause).__name__
