"""Answer an agent gateway's messages with an async generator. Needs only the standard library.

    @agent(os.environ["AGENT_KEY"])
    async def app(message, session):
        yield "Hello"

``app`` is an ASGI application: serve it alone, mount it, add it as a route of FastAPI or Starlette, or put
``app.django`` into Django's paths. The generator yields texts (tokens) and objects (events, with a ``type``). It runs
in a task of its own, which Stop cancels, so whatever it awaits ends, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["AgentApp", "AgentError", "Session", "agent"]

logger = logging.getLogger(__name__)

CANCEL_SECONDS = 5.0  # an answer that ignores its cancellation for longer is left to itself
MAX_BODY_BYTES = 4 * 1024 * 1024
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class AgentError(Exception):
    """Ends the answer as an error. Its text is for the person who asked; of other exceptions nothing is sent."""


class Session(NamedTuple):
    """Where a message comes from. ``subject`` is empty if the gateway does not know who sent it."""

    session_id: str
    turn_id: str
    subject: str


Answer = Callable[[dict[str, Any], Session], AsyncGenerator["str | dict[str, Any]", None]]


def agent(*keys: str, keep_alive_seconds: float = 15.0) -> Callable[[Answer], AgentApp]:
    """Make an agent of an async generator function. Each of ``keys`` is accepted: two while a key is changed."""
    return lambda answer: AgentApp(answer, keys, keep_alive_seconds)


class AgentApp:
    """An agent as an ASGI application. It answers every path, so that it can be mounted anywhere."""

    def __init__(self, answer: Answer, keys: tuple[str, ...], keep_alive_seconds: float) -> None:
        if not keys or not all(keys):
            raise ValueError("An agent needs the gateway's key (GATEWAY__INTERNAL_API_KEY), or anybody could ask it.")
        self._answer = answer
        self._keys = [key.encode() for key in keys]
        self._keep_alive_seconds = keep_alive_seconds

    async def __call__(self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        """Answer one request. (ASGI)"""
        if scope["type"] != "http":
            raise NotImplementedError("An agent speaks HTTP only.")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["method"], headers.get("x-internal-auth", ""))
        body = b"" if refusal else await _body(receive)
        message = _message(body)
        if refusal or message is None:
            status, words = refusal or (400, "The body is not a message.")
            await _start(send, status, {"Content-Type": "application/json"})
            await send({"type": "http.response.body", "body": json.dumps({"error": words}).encode()})
            return
        await _start(send, 200, _HEADERS)
        sending = asyncio.create_task(self._send(message, headers, send))
        leaving = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})

    @property
    def django(self) -> Callable[[Any], Awaitable[Any]]:
        """The agent as an async view of Django, to be served by ASGI."""
        from django.http import JsonResponse, StreamingHttpResponse

        async def view(request: Any) -> Any:
            headers = {name.lower(): value for name, value in request.headers.items()}
            status, words = self._refusal(request.method, headers.get("x-internal-auth", "")) or (400, "")
            message = None if words else _message(request.body)
            if message is None:
                return JsonResponse({"error": words or "The body is not a message."}, status=status)
            return StreamingHttpResponse(self.stream(message, headers), headers=_HEADERS)

        view.csrf_exempt = True  # type: ignore[attr-defined]  # the key is the protection
        return view

    async def stream(self, message: dict[str, Any], headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Yield an answer's server-sent events. Closing the iterator cancels the answer."""
        session = Session(
            str(message.get("session_id", "")), headers.get("idempotency-key", ""), headers.get("x-subject", "")
        )
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=1)
        running = asyncio.create_task(self._run(message, session, events))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._keep_alive_seconds):
                        event = await events.get()
                except TimeoutError:
                    yield b": still there\n\n"
                    continue
                if event is None:
                    return
                yield b"data: %s\n\n" % json.dumps(event, ensure_ascii=False).encode("utf-8", "backslashreplace")
        finally:
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_SECONDS)

    async def _run(self, message: dict[str, Any], session: Session, events: asyncio.Queue[dict[str, Any] | None]) -> None:
        end: dict[str, Any] = {"type": "assistant_message", "token": "", "is_final": True}
        try:
            async with contextlib.aclosing(self._answer(message, session)) as items:
                async for item in items:
                    token = {"type": "assistant_message", "token": item, "is_final": False}
                    await events.put(token if isinstance(item, str) else item)
        except AgentError as exc:
            end = {"type": "error", "content": str(exc)}
        except Exception:
            logger.exception("answer failed")
            end = {"type": "error", "content": "The agent could not answer. Try again."}
        await events.put(end)
        await events.put(None)

    async def _send(self, message: dict[str, Any], headers: Mapping[str, str], send: Any) -> None:
        async with contextlib.aclosing(self.stream(message, headers)) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _refusal(self, method: str, key: str) -> tuple[int, str] | None:
        if method != "POST":
            return 405, "An agent takes POST only."
        shown = key.encode("utf-8", "surrogateescape")
        if not any([hmac.compare_digest(shown, known) for known in self._keys]):
            return 401, "The key in X-Internal-Auth is missing or wrong."
        return None


def _message(body: bytes) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(body)
        return message if isinstance(message, dict) else None
    return None


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    """Read a request's body; one that is too large, or breaks off, is read as empty."""
    body = bytearray()
    while len(body) <= MAX_BODY_BYTES:
        part = await receive()
        if part["type"] != "http.request":
            break
        body += part.get("body", b"")
        if not part.get("more_body", False):
            return bytes(body)
    return b""


async def _start(send: Any, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _wait_for_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
