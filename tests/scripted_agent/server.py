"""The scripted agent's server: reads requests, plays scripts, notices who leaves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from tests.scripted_agent.kept import HEAD, KEPT, KeptRun
from tests.scripted_agent.response import Response
from tests.scripted_agent.scripts import open_gate, script_for
from tests.scripted_agent.steps import Head, Status, Step, Steps
from tests.tcp_server import TcpServer

PATH = "/agent/message/stream"
LIMIT_SECONDS = 60
MAX_REQUEST_HEAD_BYTES = 1024 * 1024


@dataclass(frozen=True, eq=False)
class Request:
    """One request as it came. ``headers`` has lower-case names, the last of a kind; ``raw_headers`` has all."""

    method: str
    path: str
    headers: dict[str, str]
    raw_headers: list[tuple[str, str]]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The body's JSON value; ``None`` if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def content(self) -> str:
        """What was said; ``""`` if nothing."""
        message = self.json
        content = message.get("content") if isinstance(message, dict) else None
        return content if isinstance(content, str) else ""


Script = Iterable[Step] | Callable[[Request], Steps]
Matcher = str | Callable[[str], bool]


class ScriptedAgent:
    """The server. Attributes to set and to look at:

    ``script``: for each message that no ``on`` matches; ``None`` plays the one that the message names.
    ``requests``: every message, in order of arrival. ``disconnects``: those whose client left before the end.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.script: Script | None = None
        self.requests: list[Request] = []
        self.disconnects: list[Request] = []
        self._rules: list[tuple[Matcher, Script]] = []
        self._server = TcpServer(self._converse, host=host, port=port, limit=MAX_REQUEST_HEAD_BYTES)
        self._failures: list[Exception] = []
        self._kept: dict[str, KeptRun] = {}
        self._answering: set[asyncio.StreamWriter] = set()
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return self._server.url

    def on(self, content: Matcher, script: Script) -> None:
        """Play ``script`` for messages with this content, or whose content the function accepts. The newest wins."""
        self._rules.insert(0, (content, script))

    async def wait_requests(self, number: int = 1, timeout_seconds: float = LIMIT_SECONDS) -> list[Request]:
        """Wait until so many messages have come in all."""
        await self._wait_until(lambda: len(self.requests) >= number, timeout_seconds)
        return self.requests

    async def wait_disconnected(self, number: int = 1, timeout_seconds: float = LIMIT_SECONDS) -> list[Request]:
        """Wait until so many clients in all have left within an answer."""
        await self._wait_until(lambda: len(self.disconnects) >= number, timeout_seconds)
        return self.disconnects

    async def listen(self) -> None:
        """Take connections; after ``refuse`` again on the same port."""
        self._server.listen()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._server.refuse()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        for run in self._kept.values():
            run.task.cancel()
        await self._server.__aexit__()
        if self._failures:
            raise ExceptionGroup("the scripted agent failed", self._failures)

    async def _wait_until(self, is_reached: Callable[[], bool], timeout_seconds: float) -> None:
        async with asyncio.timeout(timeout_seconds):
            while not is_reached():
                self._changed.clear()
                await self._changed.wait()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: asyncio.Queue[Request | None] = asyncio.Queue()
        reading = asyncio.create_task(_read_requests(reader, requests))
        try:
            await self._serve(requests, reading, writer)
        except ConnectionError:
            pass
        except Exception as exc:
            self._failures.append(exc)
        finally:
            reading.cancel()
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # the client does not read
            writer.close()  # before anything is awaited: this may be cancelled now
            await asyncio.gather(reading, writer.wait_closed(), return_exceptions=True)

    async def _serve(
        self, requests: asyncio.Queue[Request | None], reading: asyncio.Task[None], writer: asyncio.StreamWriter
    ) -> None:
        closes_when_reused = False
        while request := await requests.get():
            if request.path.startswith(f"{PATH}/"):
                await self._serve_kept(request, reading, writer)
                return
            if request.method == "GET":
                await Response(writer).play(self._own_answer(request.path))
                continue
            self.requests.append(request)
            self._changed.set()
            if closes_when_reused:
                return
            response = Response(writer)
            playing = asyncio.create_task(self._play(request, response, writer))
            try:
                await asyncio.wait({playing, reading}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                left = not playing.done()
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            left = left or (not playing.cancelled() and isinstance(playing.exception(), ConnectionError))
            if left:
                self.disconnects.append(request)
                self._changed.set()
                return
            playing.result()
            if writer.is_closing() or request.headers.get("connection", "").lower() == "close":
                return
            closes_when_reused = response.closes_when_reused

    async def _serve_kept(self, request: Request, reading: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        """Read a kept answer on, or stop it."""
        run, response = self._kept.get(request.path.removeprefix(f"{PATH}/")), Response(writer)
        if run is None:
            await response.play(Status(404))
        elif request.method == "DELETE":
            run.task.cancel()
            await response.play(Status(200))
        else:
            number = int(request.headers.get("last-event-id", "0"))
            playing = asyncio.create_task(self._play_kept(run, response, number, writer))
            await asyncio.wait({playing, reading}, return_when=asyncio.FIRST_COMPLETED)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _play_kept(self, run: KeptRun, response: Response, number: int, writer: asyncio.StreamWriter) -> None:
        response.headers = HEAD
        self._answering.add(writer)
        try:
            await response.play(Head())
            await run.send(response, number)
            await response.end()
        finally:
            self._answering.discard(writer)

    async def _play(self, request: Request, response: Response, writer: asyncio.StreamWriter) -> None:
        if KEPT.match(request.content):
            run = self._kept[request.headers.get("idempotency-key", "")] = KeptRun(script_for(request.content))
            await self._play_kept(run, response, 0, writer)
            return
        async with contextlib.aclosing(_steps_of(self._script_for(request), request)) as steps:
            async for step in steps:
                await response.play(step)
                if response.is_over:
                    return
        await response.end()

    def _script_for(self, request: Request) -> Script:
        for content, script in self._rules:
            if content(request.content) if callable(content) else content == request.content:
                return script
        if request.path != PATH:
            return [Status(404, body=b"there is nothing here")]
        return self.script if self.script is not None else lambda request: script_for(request.content)

    def _own_answer(self, path: str) -> Status:
        if path == "/requests":
            asked = [{"path": r.path, "headers": r.headers, "json": r.json} for r in self.requests]
            body = json.dumps({"requests": asked, "disconnects": len(self.disconnects)}).encode()
            return Status(200, {"Content-Type": "application/json"}, body)
        if path == "/cut":  # the connections on which kept answers are sent
            for writer in self._answering:
                writer.transport.abort()
            return Status(200)
        if path.startswith("/open/"):
            open_gate(path.removeprefix("/open/"))
            return Status(200)
        return Status(200 if path == "/health" else 404, body=b"the scripted agent")


async def _read_requests(reader: asyncio.StreamReader, requests: "asyncio.Queue[Request | None]") -> None:
    """Read until the client leaves: the only reader, so its end is noticed at once."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            method, path, _ = request_line.split(" ")
            raw_headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            headers = {name.lower(): value for name, value in raw_headers}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            requests.put_nowait(Request(method, path, headers, raw_headers, body))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        requests.put_nowait(None)


async def _steps_of(script: Script, request: Request) -> AsyncGenerator[Step, None]:
    steps = script(request) if callable(script) else script
    if isinstance(steps, AsyncGenerator):
        async with contextlib.aclosing(steps):
            async for step in steps:
                yield step
    else:
        for step in steps:
            yield step
