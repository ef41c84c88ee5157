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
_KEEP_ALIVE = b": still there\n\n"
_KEPT = {"X-Agent-Resume": "1"}
_EVENT_STREAM = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_REFUSAL = {"Content-Type": "application/json", "Allow": "POST"}
_FINAL: dict[str, Any] = {"type": "assistant_message", "token": "", "is_final": True}
_NO_WORDS: dict[str, Any] = {"type": "error", "content": "The agent could not answer. Try again."}


class AgentError(Exception):
    """Ends the answer as an error. Its text is for the person who asked; other exceptions' texts are only logged."""


class Session(NamedTuple):
    """The place of a message in its conversation. ``subject`` is empty if the gateway does not know who sent it."""

    session_id: str
    turn_id: str
    subject: str


Answer = Callable[[dict[str, Any], Session], AsyncGenerator["str | dict[str, Any]", None]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


def agent(*keys: str, keep_alive_seconds: float = 15.0, keep_seconds: float = 0.0) -> Callable[[Answer], AgentApp]:
    """Make an agent of an async generator function. Each of ``keys`` is accepted: two while a key is changed.

    ``keep_seconds``: an answer continues when its connection breaks, and is kept for so long after its end, so that the
    gateway can read it on by ``GET <path>/<turn_id>``. 0: it is cancelled.
    """
    return lambda answer: AgentApp(answer, keys, keep_alive_seconds, keep_seconds)


class AgentApp:
    """An agent as an ASGI application. It answers on every path, so that it can be mounted anywhere."""

    def __init__(
        self, answer: Answer, keys: tuple[str, ...], keep_alive_seconds: float, keep_seconds: float = 0.0
    ) -> None:
        if not keys or not all(keys):
            raise ValueError("An agent needs the gateway's key (GATEWAY__INTERNAL_API_KEY): without, anyone could ask.")
        self._answer = answer
        self._keys = [key.encode() for key in keys]
        self._keep_alive_seconds = keep_alive_seconds
        self._keep_seconds = keep_seconds
        self._kept: dict[str, _Kept] = {}
        self._head = {**_EVENT_STREAM, **(_KEPT if keep_seconds else {})}
        self._answering: set[asyncio.Task[None]] = set()  # the event loop itself keeps no task alive

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request. (ASGI)"""
        if scope["type"] != "http":
            raise NotImplementedError("An agent speaks HTTP only.")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check(scope["method"], headers)
            events = self._events(scope["method"], scope.get("path", ""), headers, await _body(receive))
        except _Refused as exc:
            await _start(send, exc.status, _REFUSAL)
            await send({"type": "http.response.body", "body": exc.body})
            return
        await _start(send, 200, self._head)
        sending = asyncio.create_task(_send_all(events, send))
        leaving = asyncio.create_task(_disconnect(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.wait({sending, leaving})
        if not sending.cancelled():
            sending.result()

    @property
    def django(self) -> Callable[[Any], Awaitable[Any]]:
        """The agent as an async view of Django, to be served by ASGI."""
        from django.http import HttpResponse, StreamingHttpResponse

        async def view(request: Any, turn_id: str = "") -> Any:
            headers = {name.lower(): value for name, value in request.headers.items()}
            try:
                self._check(request.method, headers)
                events = self._events(request.method, request.path, headers, request.body)
            except _Refused as exc:
                return HttpResponse(exc.body, status=exc.status, headers=_REFUSAL)
            return StreamingHttpResponse(events, headers=self._head)

        view.csrf_exempt = True  # type: ignore[attr-defined]  # no browser sends the key by itself
        return view

    def _events(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> AsyncGenerator[bytes, None]:
        """Return the events of a new answer, or the rest of one that is kept."""
        if method == "POST":
            events, turn_id = self.stream(_message(body), headers), headers.get("idempotency-key", "")
            return self._keep(turn_id, events).after(0) if self._keep_seconds and turn_id else events
        kept = self._kept.get(path.rpartition("/")[2])
        if kept is None:
            raise _Refused(404, "This answer is not known.")
        if method == "DELETE":
            kept.task.cancel()
            raise _Refused(200, "It is stopped.")
        cursor = headers.get("last-event-id", "0")
        if not cursor.isdigit() or int(cursor) > len(kept.events):
            raise _Refused(410, "There is no such event in this answer.")
        return kept.after(int(cursor))

    def _keep(self, turn_id: str, events: AsyncGenerator[bytes, None]) -> _Kept:
        kept = self._kept[turn_id] = _Kept(events, self._keep_alive_seconds)

        def forget() -> None:
            if self._kept.get(turn_id) is kept:
                del self._kept[turn_id]

        kept.task.add_done_callback(lambda _: asyncio.get_running_loop().call_later(self._keep_seconds, forget))
        return kept

    async def stream(self, message: dict[str, Any], headers: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Yield an answer's server-sent events. Closing the iterator cancels the answer, and waits for its end.

        ``headers``: of the request, with names in lower case.
        """
        session = Session(message["session_id"], headers.get("idempotency-key", ""), headers.get("x-subject", ""))
        events: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        answering = asyncio.create_task(self._run(message, session, events))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        try:
            while (event := await _next(events, self._keep_alive_seconds)) is not None:
                yield event
        finally:
            answering.cancel()
            await asyncio.wait({answering}, timeout=CANCEL_SECONDS)
            if not answering.done():
                logger.warning("answer does not end")

    async def _run(self, message: dict[str, Any], session: Session, events: asyncio.Queue[bytes | None]) -> None:
        end = _FINAL
        try:
            async with contextlib.aclosing(self._answer(message, session)) as items:
                async for item in items:
                    if _is_cancelled():  # and has gone on nevertheless
                        return
                    await events.put(_event(item))
        except AgentError as exc:
            end = {"type": "error", "content": str(exc)}
        except Exception:
            logger.exception("answer failed")
            end = _NO_WORDS
        if not _is_cancelled():
            await events.put(_event(end))
            await events.put(None)

    def _check(self, method: str, headers: Mapping[str, str]) -> None:
        if method != "POST" and not (self._keep_seconds and method in ("GET", "DELETE")):
            raise _Refused(405, "An agent takes POST only.")
        sent = headers.get("x-internal-auth", "").encode()
        if not sum(hmac.compare_digest(sent, key) for key in self._keys):  # all, so that the time tells nothing
            raise _Refused(401, "The key in X-Internal-Auth is missing or wrong.")


class _Kept:
    """An answer that continues without a reader: its events, each with its number."""

    def __init__(self, events: AsyncGenerator[bytes, None], keep_alive_seconds: float) -> None:
        self.events: list[bytes] = []
        self._keep_alive_seconds = keep_alive_seconds
        self._changed = asyncio.Event()
        self._is_over = False
        self.task = asyncio.create_task(self._collect(events))

    async def _collect(self, events: AsyncGenerator[bytes, None]) -> None:
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if event is not _KEEP_ALIVE:
                        self.events.append(b"id: %d\n%b" % (len(self.events) + 1, event))
                        self._wake()
        finally:
            self._is_over = True
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def after(self, number: int) -> AsyncGenerator[bytes, None]:
        while True:
            changed = self._changed
            for event in self.events[number:]:
                yield event
                number += 1
            if self._is_over and number == len(self.events):
                return
            try:
                async with asyncio.timeout(self._keep_alive_seconds):
                    await changed.wait()
            except TimeoutError:
                yield _KEEP_ALIVE


class _Refused(Exception):
    """A request that is answered in words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(status, words)
        self.status = status
        self.body = json.dumps({"error" if status >= 400 else "status": words}).encode()


def _message(body: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(body)
        if isinstance(message, dict) and isinstance(message.get("session_id"), str):
            return message
    raise _Refused(400, "The body is not a message: it must be a JSON object with a session_id.")


def _event(item: object) -> bytes:
    if isinstance(item, str):
        item = {"type": "assistant_message", "token": item, "is_final": False}
    if not isinstance(item, dict):
        raise TypeError(f"an answer yields texts and objects, not {type(item).__name__}")
    data = json.dumps(item, ensure_ascii=False)  # half a surrogate pair, which UTF-8 has not, becomes JSON's \uXXXX
    return b"data: " + data.encode("utf-8", "backslashreplace") + b"\n\n"


async def _next(events: asyncio.Queue[bytes | None], keep_alive_seconds: float) -> bytes | None:
    try:
        async with asyncio.timeout(keep_alive_seconds):
            return await events.get()
    except TimeoutError:
        return _KEEP_ALIVE


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _body(receive: Receive) -> bytes:
    """Read a request's body; one that breaks off is read as empty."""
    body = bytearray()
    while (part := await receive())["type"] == "http.request":
        body += part.get("body", b"")
        if not part.get("more_body", False):
            return bytes(body)
    return b""


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _send_all(events: AsyncGenerator[bytes, None], send: Send) -> None:
    async with contextlib.aclosing(events):
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
