"""Answers of any model server that speaks OpenAI's ``/chat/completions`` with ``stream: true``."""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx
import msgspec

from relay.demo_agent.answers import AgentEvent, AgentMessage, error, final, token
from relay.demo_agent.config import OpenAIConfig
from relay.protocol.event_stream import EventStreamDecoder, EventTooLarge

logger = logging.getLogger(__name__)

MAX_SESSIONS: Final = 1_000  # the conversation that was idle longest is forgotten first
MAX_MESSAGES: Final = 40  # of one conversation; the oldest are forgotten first
MAX_EVENT_BYTES: Final = 1024 * 1024

_TIMEOUT: Final = httpx.Timeout(60, connect=10)  # seconds; a model may think long before its first token
_BROKEN_OFF: Final = "The model's answer broke off before its end."
_SENTENCES: Final = {
    400: "The model server did not understand the request. Is the model's name right?",
    401: "The model server refused the API key.",
    403: "The model server refused the API key.",
    404: "The model server does not know this address or model.",
    429: "The model server has too much to do, or the quota is used up. Try again later.",
}


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: Any = None  # its shape differs from server to server: only its presence counts


class _Failed(Exception):
    """The model server gave no answer; the text is for the user."""


class History:
    """The messages of each session, in the model server's format; bounded in sessions and messages."""

    def __init__(self, max_sessions: int = MAX_SESSIONS, max_messages: int = MAX_MESSAGES) -> None:
        self._max_sessions = max_sessions
        self._max_messages = max_messages
        self._sessions: OrderedDict[str, list[dict[str, str]]] = OrderedDict()

    def messages(self, session_id: str) -> list[dict[str, str]]:
        """Return a session's remembered messages, oldest first."""
        return list(self._sessions.get(session_id, ()))

    def remember(self, session_id: str, said: str, answered: str) -> None:
        """Keep one exchange."""
        messages = self._sessions.setdefault(session_id, [])
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
        del messages[: -self._max_messages]
        self._sessions.move_to_end(session_id)
        if len(self._sessions) > self._max_sessions:
            self._sessions.popitem(last=False)


class OpenAIAnswers:
    """Relays each message, with its session's history, to the model server.

    An answer that is stopped or breaks off leaves its text so far in the history; one without any text leaves nothing.
    """

    def __init__(self, config: OpenAIConfig) -> None:
        self._config = config
        self._history = History()
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, limits=httpx.Limits(max_connections=None))

    async def answer(self, message: AgentMessage) -> AsyncGenerator[AgentEvent, None]:
        """Yield the model's tokens as they arrive, then its finish reason, or an error in plain words."""
        yield token("")
        if message.type != "user_message":
            yield token(f"A message of the type {message.type} is not for a model.")
            yield final()
            return
        answered: list[str] = []
        try:
            async with contextlib.aclosing(self._relay(message)) as events:
                async for event in events:
                    answered.append(event["token"])
                    yield event
        except _Failed as exc:
            logger.warning("turn %s: model server failed: %s", message.turn_id or "-", exc)
            yield error(str(exc))
        finally:
            if text := "".join(answered):
                self._history.remember(message.session_id, message.content, text)

    async def _relay(self, message: AgentMessage) -> AsyncGenerator[AgentEvent, None]:
        try:
            async with self._request(message) as response:
                if not response.is_success:
                    raise _Failed(_sentence_for(response.status_code))
                finish_reason = None
                async for chunk in _chunks(response):
                    for choice in chunk.choices[:1]:
                        finish_reason = choice.finish_reason or finish_reason
                        if choice.delta.content:
                            yield token(choice.delta.content)
                if finish_reason is None:
                    raise _Failed(_BROKEN_OFF)
                yield final(finish_reason)
        except httpx.TimeoutException as exc:
            raise _Failed("The model server did not answer in time.") from exc
        except httpx.ConnectError as exc:
            raise _Failed("The model server cannot be reached.") from exc
        except httpx.HTTPError as exc:
            raise _Failed(_BROKEN_OFF) from exc

    def _request(self, message: AgentMessage) -> contextlib.AbstractAsyncContextManager[httpx.Response]:
        said = {"role": "user", "content": message.content}
        body: dict[str, object] = {
            "messages": [*self._history.messages(message.session_id), said],
            "stream": True,
        }
        if self._config.model:
            body["model"] = self._config.model
        headers = {"Accept": "text/event-stream"}
        if self._config.api_key:
            headers["Authorization"] = f"Bearer {self._config.api_key}"
        if message.turn_id:
            headers["Idempotency-Key"] = message.turn_id
        return self._client.stream("POST", f"{self._config.base_url}/chat/completions", json=body, headers=headers)


async def _chunks(response: httpx.Response) -> AsyncGenerator[_Chunk, None]:
    """Decode the body up to ``[DONE]``, which some servers omit.

    Raises:
        _Failed: the model server reported an error, or sent a malformed chunk.
    """
    decoder = EventStreamDecoder(MAX_EVENT_BYTES)
    async for data in response.aiter_bytes():
        try:
            events = decoder.feed(data)
        except EventTooLarge as exc:
            raise _Failed("The model server sent something that is too large.") from exc
        for event in events:
            if event.data == "[DONE]":
                return
            yield _parse_chunk(event.data)


def _parse_chunk(data: str) -> _Chunk:
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except (ValueError, RecursionError) as exc:
        raise _Failed("The model server sent something that is not understood.") from exc
    if chunk.error:
        raise _Failed("The model server reported an error in the middle of the answer.")
    return chunk


def _sentence_for(status: int) -> str:
    return _SENTENCES.get(status, f"The model server could not answer (status {status}).")
