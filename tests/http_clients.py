"""HTTP clients that speak in frames: event streams, and requests to the application without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from relay.delivery.client_writer import SEND_NOW
from tests.clients import LIMIT_SECONDS, Client
from tests.processes import KEY

API = "/api/v1/sessions"


@dataclass
class Entry:
    """One event of a stream, or a comment."""

    fields: dict[str, str] = field(default_factory=dict)
    comment: str | None = None

    @property
    def frame(self) -> dict[str, Any]:
        return json.loads(self.fields["data"])

    @property
    def id(self) -> str | None:
        return self.fields.get("id")


class EventReader(Client):
    """Reads an event stream; ``last_event_id`` is what a browser would come back with."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.last_event_id = ""
        self._chunks = chunks
        self._buffered = b""

    async def send_text(self, text: str) -> None:
        raise NotImplementedError

    async def send_bytes(self, data: bytes) -> None:
        raise NotImplementedError

    async def text(self) -> str:
        while (entry := await self.entry()).comment is not None:
            pass
        return entry.fields["data"]

    async def entry(self) -> Entry:
        entry = Entry()
        while line := await self._line():
            if line.startswith(":"):
                return Entry(comment=line[1:].strip())
            name, _, value = line.partition(": ")
            assert name not in entry.fields
            entry.fields[name] = value
        self.last_event_id = entry.fields.get("id", self.last_event_id)
        return entry

    async def rest(self) -> bytes:
        """What comes until the stream ends."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return self._buffered + b"".join([chunk async for chunk in self._chunks])

    async def _line(self) -> str:
        while b"\n" not in self._buffered:
            async with asyncio.timeout(LIMIT_SECONDS):
                self._buffered += await anext(self._chunks)
        line, _, self._buffered = self._buffered.partition(b"\n")
        return line.decode()


@dataclass
class Answer:
    """A response to one request."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


class HttpClient:
    """Requests to an ASGI application, each with the internal key.

    Args:
        has_send_now: does the server offer its extension, by which pieces of a body are sent at once?
    """

    def __init__(self, application: Any, *, has_send_now: bool = False) -> None:
        self._application = application
        self._has_send_now = has_send_now

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.request("POST", path, body=body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        async with self.open(method, path, **options) as (answer, chunks):
            answer.body = b"".join([chunk async for chunk in chunks])
            return answer

    @asynccontextmanager
    async def events(self, session_id: str = "s", query: str = "", **headers: str) -> AsyncIterator[EventReader]:
        async with self.open("GET", f"{API}/{session_id}/events?{query}", headers=headers) as (answer, chunks):
            assert answer.status == 200, answer.status
            assert answer.headers["content-type"] == "text/event-stream"
            yield EventReader(chunks)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        key: str | None = KEY,
        is_reading: bool = True,
        reads: asyncio.Event | None = None,
        client: list[Any] | None = None,
    ) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Begin a request; leaving the block is leaving the line.

        One that is not ``is_reading`` blocks the sender, and so does one that ``reads`` later, until then.
        """
        sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        received.put_nowait({"type": "http.request", "body": content})

        async def send(message: dict[str, Any]) -> None:
            sent.put_nowait(message)
            if message["type"] == "http.response.body" and not is_reading:
                await asyncio.Event().wait()
            if message["type"] == "http.response.body" and reads is not None:
                await reads.wait()

        def send_now(pieces: list[bytes]) -> bool:
            if is_reading:
                sent.put_nowait({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
            return is_reading

        scope = scope_of(method, path, {**({"X-Internal-Auth": key} if key else {}), **(headers or {})})
        scope["client"] = client
        scope["extensions"] = {SEND_NOW: send_now} if self._has_send_now else {}
        serving = asyncio.create_task(self._application(scope, received.get, send))
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                start = await sent.get()
            shown = {name.decode().lower(): value.decode() for name, value in start["headers"]}
            yield Answer(start["status"], shown), _chunks(sent, serving)
        finally:
            received.put_nowait({"type": "http.disconnect"})
            async with asyncio.timeout(LIMIT_SECONDS):
                await serving


async def _chunks(sent: asyncio.Queue[dict[str, Any]], serving: asyncio.Task[None]) -> AsyncIterator[bytes]:
    while True:
        getting = asyncio.create_task(sent.get())
        await asyncio.wait([getting, serving], return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            return
        message = getting.result()
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def scope_of(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    raw_path, _, query = path.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": unquote_to_bytes(raw_path).decode(),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in {"Host": "test", **headers}.items()],
        "http_version": "1.1",
        "scheme": "http",
    }
