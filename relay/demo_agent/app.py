"""The demo agent as an ASGI application: the agent's side of the protocol, without Django."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final

from relay.demo_agent.answers import AgentMessage, CannedAnswers, error
from relay.demo_agent.config import DemoAgentConfig
from relay.demo_agent.runs import Run, Runs
from relay.protocol.event_stream import encode_event

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]  # ASGI leaves the values open
AsgiMessage = MutableMapping[str, Any]  # likewise
Receive = Callable[[], Awaitable[AsgiMessage]]
Send = Callable[[AsgiMessage], Awaitable[None]]

MAX_BODY_BYTES: Final = 4 * 1024 * 1024

PATH: Final = "/agent/message/stream"
_METHODS: Final = {PATH: ("POST",), "/health": ("GET", "HEAD")}
_RUN_METHODS: Final = ("GET", "DELETE")  # of PATH/<turn_id>


class Refused(Exception):
    """A request that is answered with a status and a sentence only."""

    def __init__(self, status: HTTPStatus, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


class DemoAgentApplication:
    """Answers ``POST /agent/message/stream`` with a stream of events, and ``GET /health``.

    An answer to a request with an ``Idempotency-Key`` is kept: ``GET …/<that key>`` reads it on, ``DELETE`` stops it.
    """

    def __init__(self, config: DemoAgentConfig) -> None:
        self._keys = [key.encode() for key in config.internal_api_keys]
        self._answers = CannedAnswers(config.word_delay_seconds)
        self._runs = Runs()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._check_request_line(scope)
            if scope["path"] == "/health":
                await _send_json(send, HTTPStatus.OK, {"status": "ok", "agent": "demo"})
                return
            self._check_key(scope)
            if scope["method"] == "DELETE":
                self._run(scope).task.cancel()
                logger.info("turn %s: answer stopped", scope["path"].removeprefix(f"{PATH}/"))
                await _send_json(send, HTTPStatus.OK, {"status": "stopped"})
                return
            events, is_kept = await self._events(scope, receive)
        except Refused as exc:
            await _send_json(send, exc.status, {"error": exc.sentence}, exc.headers)
            return
        await self._stream(events, receive, send, is_kept=is_kept)

    def _check_request_line(self, scope: Scope) -> None:
        is_run = scope["path"].startswith(f"{PATH}/") and scope["path"] != f"{PATH}/"
        methods = _RUN_METHODS if is_run else _METHODS.get(scope["path"])
        if methods is None:
            raise Refused(HTTPStatus.NOT_FOUND, "There is nothing here. Send POST /agent/message/stream.")
        if scope["method"] not in methods:
            allow = ", ".join(methods)
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"Only {allow} is allowed here.", {"Allow": allow})

    def _check_key(self, scope: Scope) -> None:
        if not self._is_allowed(_headers(scope).get("x-internal-auth", "").encode("latin-1")):
            raise Refused(HTTPStatus.UNAUTHORIZED, "X-Internal-Auth is missing or wrong.")

    async def _events(self, scope: Scope, receive: Receive) -> tuple[AsyncGenerator[bytes, None], bool]:
        """Return the events of a new answer, or the rest of one that is kept; and whether it is."""
        headers = _headers(scope)
        if scope["method"] == "GET":
            cursor, run = headers.get("last-event-id", "0"), self._run(scope)
            if not cursor.isdigit() or int(cursor) > len(run):
                raise Refused(HTTPStatus.GONE, "There is no such event in this answer.")
            return run.after(int(cursor)), True
        turn_id = headers.get("idempotency-key", "")
        events = self._encoded(_parse_message(await _read_body(receive), turn_id))
        return (self._runs.start(turn_id, events).after(0), True) if turn_id else (events, False)

    def _run(self, scope: Scope) -> Run:
        run = self._runs.get(scope["path"].removeprefix(f"{PATH}/"))
        if run is None:
            raise Refused(HTTPStatus.NOT_FOUND, "This answer is not known.")
        return run

    def _is_allowed(self, key: bytes) -> bool:
        """Compare with every key, in constant time."""
        matches = [hmac.compare_digest(key, known) for known in self._keys]
        return any(matches)

    async def _stream(
        self, events: AsyncGenerator[bytes, None], receive: Receive, send: Send, *, is_kept: bool
    ) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        if is_kept:
            headers.append((b"x-agent-resume", b"1"))
        await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": headers})
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(_send_all(events, send))
            leaving = tasks.create_task(_client_left(receive))
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and not is_kept:
                logger.info("client disconnected, answer stopped")
            answering.cancel()  # the group awaits both
            leaving.cancel()

    async def _encoded(self, message: AgentMessage) -> AsyncGenerator[bytes, None]:
        """Yield an answer as server-sent events."""
        try:
            async with contextlib.aclosing(self._answers.answer(message)) as events:
                async for event in events:
                    yield encode_event(json.dumps(event))  # ASCII: half a character stays an escape
        except Exception:  # an answer that has started can only end with an error event
            logger.exception("turn %s: demo agent failed", message.turn_id or "-")
            yield encode_event(json.dumps(error("The demo agent failed. Its log says why.")))


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def _send_all(events: AsyncGenerator[bytes, None], send: Send) -> None:
    async with contextlib.aclosing(events):
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
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
