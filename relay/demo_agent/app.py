"""The demo agent as an ASGI application: the agent's side of the protocol, without Django."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from relay.demo_agent.answers import AgentEvent, AgentMessage, CannedAnswers, error
from relay.demo_agent.config import DemoAgentConfig
from relay.protocol.event_stream import encode_event

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]  # ASGI leaves the values open
AsgiMessage = MutableMapping[str, Any]  # likewise
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024

_METHODS: Final = {"/agent/message/stream": ("POST",), "/health": ("GET", "HEAD")}


class Refused(Exception):
    """A request that is answered with a status and a sentence only."""

    def __init__(self, status: HTTPStatus, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


class DemoAgentApplication:
    """Answers ``POST /agent/message/stream`` with a stream of events, and ``GET /health``."""

    def __init__(self, config: DemoAgentConfig) -> None:
        self._keys = [key.encode() for key in config.internal_api_keys]
        self._answers = CannedAnswers(config.word_delay_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._check_request_line(scope)
            if scope["path"] == "/health":
                await _send_json(send, HTTPStatus.OK, {"status": "ok", "agent": "demo"})
                return
            message = await self._read_message(scope, receive)
        except Refused as exc:
            await _send_json(send, exc.status, {"error": exc.sentence}, exc.headers)
            return
        await self._stream(message, receive, send)

    def _check_request_line(self, scope: Scope) -> None:
        methods = _METHODS.get(scope["path"])
        if methods is None:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here. Send POST /agent/message/stream.")
        if scope["method"] not in methods:
            allow = ", ".join(methods)
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"Only {allow} is allowed here.", {"Allow": allow})

    async def _read_message(self, scope: Scope, receive: Receive) -> AgentMessage:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if not self._is_allowed(headers.get(b"x-internal-auth", b"")):
            raise Refused(HTTPStatus.UNAUTHORIZED, "X-Internal-Auth is missing or wrong.")
        turn_id = headers.get(b"idempotency-key", b"").decode("latin-1")
        return _parse_message(await _read_body(receive), turn_id)

    def _is_allowed(self, key: bytes) -> bool:
        """Compare with every key, in constant time."""
        matches = [hmac.compare_digest(key, known) for known in self._keys]
        return any(matches)

    async def _stream(self, message: AgentMessage, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": headers})
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(self._send_answer(message, send))
            leaving = tasks.create_task(_client_left(receive))
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                logger.info("turn %s: client disconnected, answer stopped", message.turn_id or "-")
            answering.cancel()  # the group awaits both
            leaving.cancel()

    async def _send_answer(self, message: AgentMessage, send: Send) -> None:
        async def send_event(event: AgentEvent) -> None:
            body = encode_event(json.dumps(event))  # ASCII: half a character stays an escape
            await send({"type": "http.response.body", "body": body, "more_body": True})

        try:
            async with contextlib.aclosing(self._answers.answer(message)) as events:
                async for event in events:
                    await send_event(event)
        except Exception:  # an answer that has started can only end with an error event
            logger.exception("turn %s: demo agent failed", message.turn_id or "-")
            await send_event(error("The demo agent failed. Its log says why."))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _parse_message(body: bytes, turn_id: str) -> AgentMessage:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Refused(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from exc
    if not isinstance(fields, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "The body is not a JSON object.")
    kind, session_id = fields.get("type", "user_message"), fields.get("session_id")
    if not isinstance(kind, str) or not isinstance(session_id, str):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "type and session_id must be texts.")
    content = fields.get("content")
    if kind == "user_message" and not isinstance(content, str):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "content must be a text.")
    return AgentMessage(session_id, kind, content if isinstance(content, str) else "", turn_id)


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(HTTPStatus.BAD_REQUEST, "The body is incomplete.")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MAX_BODY_BYTES} bytes are allowed.")
        if not message.get("more_body", False):
            return bytes(body)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_json(
    send: Send, status: HTTPStatus, value: dict[str, str], headers: dict[str, str] | None = None
) -> None:
    body = json.dumps(value).encode()
    pairs = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    encoded = [(name.lower().encode(), text.encode()) for name, text in pairs.items()]
    await send({"type": "http.response.start", "status": status.value, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
