"""Connections that are cut and come back: sockets and event streams after any frame, other front ends at any byte."""

from __future__ import annotations

import abc
import asyncio
import itertools
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from channels.layers import channel_layers

from relay.layers.values import new_id
from relay.process import lifecycle
from tests.api.adapters import opened
from tests.buffer.redis_store import server_url
from tests.clients import LIMIT_SECONDS, V1, Client, CommunicatorClient, text_of
from tests.front_end_requests import (
    ADAPTERS,
    CHAT_SOCKET,
    RUN_SOCKET,
    Request,
    ag_ui,
    ai_sdk,
    chat_in_flight,
    joined_run,
    openai,
    replay_path,
    resume_chat,
    send_chat,
)
from tests.http_clients import API, HttpClient
from tests.scripted_agent import Event, Final, Token, Wait

TOKENS = ["", "The ", "quick ", "br\u2028own ", '"fox" ', "\U0001f98a", ""]
TEXT = "".join(TOKENS)
LENGTH = len(TOKENS) + 2  # with the user_message and the final frame


class Viewer(abc.ABC):
    """A front end that comes, reads, loses its line and comes back."""

    sees_from_the_start = False  # at every visit, while the turn is in flight

    def __init__(self, application: Any, session_id: str) -> None:
        self.application = application
        self.session_id = session_id
        self.seen: list[dict[str, Any]] = []
        self.client: Client
        self._visit = AsyncExitStack()

    @abc.abstractmethod
    async def come(self) -> None:
        """Open a line where the last one ended."""

    @abc.abstractmethod
    async def read(self, wanted: int) -> None:
        """Read until so many frames of the log have been seen in all, and a cursor, where there are any."""

    async def leave(self) -> None:
        await self._visit.aclose()


class PlainViewer(Viewer):
    sees_from_the_start = True

    async def come(self) -> None:
        self.seen = []
        self.client = await self._visit.enter_async_context(
            CommunicatorClient(self.application, f"/ws/{self.session_id}/")
        )

    async def read(self, wanted: int) -> None:
        while len(self.seen) < wanted - 1:  # it is not shown the user_message
            self.seen.append(await self.client.frame())


class ResumableViewer(Viewer):
    """``cursor`` is what it comes back with: nothing, until it has seen a welcome."""

    cursor = ""

    async def read(self, wanted: int) -> None:
        while len(self.seen) < wanted or not self.cursor:
            frame = await self.client.frame()
            if frame["type"] == "welcome":
                assert frame["recovered"] is (True if self.cursor else None)
            else:
                self.seen.append(frame)
            self.cursor = self.cursor_after(frame)

    @abc.abstractmethod
    def cursor_after(self, frame: dict[str, Any]) -> str: ...


class SocketViewer(ResumableViewer):
    async def come(self) -> None:
        path = f"/ws/{self.session_id}/?{self.cursor}"
        self.client = await self._visit.enter_async_context(CommunicatorClient(self.application, path, [V1]))

    def cursor_after(self, frame: dict[str, Any]) -> str:
        if frame["type"] == "welcome":
            self.epoch = frame["epoch"]
            return f"epoch={self.epoch}&offset={frame['after']}"
        return f"epoch={self.epoch}&offset={frame['offset']}"


class StreamViewer(ResumableViewer):
    async def come(self) -> None:
        http = HttpClient(self.application)
        headers = {"Last-Event-ID": self.cursor} if self.cursor else {}
        self.client = self.stream = await self._visit.enter_async_context(http.events(self.session_id, **headers))

    def cursor_after(self, frame: dict[str, Any]) -> str:
        return self.stream.last_event_id


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, application: Any, settings: Any) -> None:
    """Where the sessions are."""
    if request.param == "redis":
        backend = {"BACKEND": "relay.layers.redis.RedisSessionLayer", "CONFIG": {"url": server_url()}}
        settings.CHANNEL_LAYERS = {"default": backend}
        channel_layers.backends = {}


KINDS = [
    [SocketViewer],
    [StreamViewer],
    [PlainViewer],
    [SocketViewer, PlainViewer],
    [SocketViewer, StreamViewer],
    [PlainViewer, SocketViewer, StreamViewer, SocketViewer, PlainViewer],
]


# Over Redis only all kinds together: how each reads alone has nothing to do with where the log is.
@pytest.mark.parametrize(
    ("store", "kinds"),
    [*(("memory", kinds) for kinds in KINDS), ("redis", KINDS[-1])],
    indirect=["store"],
    ids=lambda value: (
        "-".join(kind.__name__.removesuffix("Viewer").lower() for kind in value) if isinstance(value, list) else value
    ),
)
@pytest.mark.usefixtures("store")
async def test_answer_cut_anywhere_is_seen_whole(application, http, agent, kinds):
    """Cut each line after every frame, also before the first and after the last; come back one to three times.

    The answer stands still at the cut. Some come back for the last time before it goes on, others after it has ended.
    """
    for cut, times in itertools.product(range(LENGTH + 1), range(3)):
        session_id = new_id()
        await lifecycle.session_layer().attach(session_id, "another tab")  # an empty session ends with its last viewer
        go_on = asyncio.Event()
        begun, rest = TOKENS[: max(cut - 1, 0)], TOKENS[max(cut - 1, 0) :]
        held = [Wait(go_on)] if cut < LENGTH else []
        agent.script = [*map(Token, begun), *held, *map(Token, rest), Final()]
        viewers = [kind(application, session_id) for kind in kinds]
        resumable = [viewer for viewer in viewers if not viewer.sees_from_the_start]
        late = resumable[(cut + times) % 2 :: 2]

        await all_do(viewers, "come")
        if cut:
            await ask(http, session_id)
        await asyncio.gather(*(viewer.read(cut) for viewer in viewers))
        firsts = [list(viewer.seen) for viewer in viewers]
        await all_do(viewers, "leave")
        for _ in range(times):
            await all_do(viewers, "come")
            await all_do(viewers, "leave")
        await all_do([viewer for viewer in viewers if viewer not in late], "come")
        if not cut:
            await ask(http, session_id)
        go_on.set()
        if late:
            await has_frames(session_id, LENGTH)
            await all_do(late, "come")

        for viewer, first in zip(viewers, firsts, strict=True):
            if viewer.sees_from_the_start and cut == LENGTH:
                assert await viewer.client.is_quiet()  # there is no turn in flight
                viewer.seen = first
            await viewer.read(LENGTH)
            assert text_of(viewer.seen) == TEXT
            assert [bool(frame.get("is_final")) for frame in viewer.seen].index(True) == len(viewer.seen) - 1
            if not viewer.sees_from_the_start:
                assert [frame["offset"] for frame in viewer.seen] == list(range(1, LENGTH + 1))
        await all_do(viewers, "leave")
    assert len(agent.requests) == 3 * (LENGTH + 1)


async def all_do(viewers: list[Viewer], what: str) -> None:
    await asyncio.gather(*(getattr(viewer, what)() for viewer in viewers))


async def ask(http: HttpClient, session_id: str) -> None:
    assert (await http.post(f"{API}/{session_id}/messages", {"content": "tell me"})).status == 202


async def has_frames(session_id: str, count: int) -> None:
    """Wait until the log holds so many frames."""
    layer = lifecycle.session_layer()
    async with asyncio.timeout(LIMIT_SECONDS):
        while (state := await layer.get(session_id)) is None or state.newest < count:
            await asyncio.sleep(0.001)


async def has_viewers(session_id: str, count: int) -> None:
    """Wait until so many clients are given the session's log."""
    gateway = await lifecycle.current()
    async with asyncio.timeout(LIMIT_SECONDS):
        while [connection.session_id for connection in gateway.connections].count(session_id) < count:
            await asyncio.sleep(0.001)


# Other front ends.

STEPS = [
    Event({"type": "reasoning", "token": "Let me "}),
    Event({"type": "reasoning", "token": "s\u00e9e."}),
    Token("It is "),
    Token('"n\u2028ine".'),
    Event({"type": "tool_call", "call_id": "c1", "tool_name": "clock", "arguments": {"zone": "UTC"}}),
    Event({"type": "tool_result", "call_id": "c1", "result": {"hour": 9}}),
    Event({"type": "agent_switched", "agent": "colleague"}),
    Event({"type": "usage", "input_tokens": 3, "output_tokens": 4}),
    Token("\U0001f98a"),
    Event({"type": "tool_call", "call_id": "c2", "tool_name": "clock", "arguments": "{}"}),
    Event({"type": "tool_result", "call_id": "c2", "error": "no clock"}),
    Final(),
]

Cursor = str | None
Seen = list[tuple[Cursor, Any]]  # events, each with the cursor behind it


class Way(NamedTuple):
    """How a front end asks, and how it comes back: from the answer's start, or to what it has, behind a cursor."""

    ask: Callable[[str], Request]
    come_back: Callable[[str, Cursor], Request]
    has_cursor: bool = False
    gives_ended: bool = True  # is an answer given that has ended, too?


WAYS = {
    "AI SDK, the same message": Way(ai_sdk, lambda name, _: ai_sdk(name)),
    "AI SDK, the turn in flight": Way(ai_sdk, lambda name, _: chat_in_flight(name), gives_ended=False),
    "AG-UI, the same run": Way(ag_ui, lambda name, cursor: ag_ui(name, cursor=cursor), has_cursor=True),
    "AG-UI, a run that is joined": Way(ag_ui, joined_run, has_cursor=True),
    "OpenAI, the same message": Way(openai, lambda name, _: openai(name)),
}


def seen_of(body: bytes) -> Seen:
    """Whole events of a body that may end anywhere."""
    entries = body.rpartition(b"\n\n")[0].split(b"\n\n")
    fields = [dict(line.partition(": ")[::2] for line in entry.decode().split("\n")) for entry in entries if entry]
    return [(entry.get("id"), entry["data"]) for entry in fields if "data" in entry]


def without_time(body: bytes) -> bytes:
    """OpenAI's chunks say when they were asked for; the answer is the same at any time."""
    return re.sub(rb'"created":\d+', b'"created":0', body)


def cursor_behind(seen: Seen) -> Cursor:
    return seen[-1][0] if seen else None


@pytest.fixture
def held_steps(agent: Any, configure: Callable[..., None]) -> list[asyncio.Event]:
    """The agent's steps, each of which waits for its event."""
    configure(ADAPTERS=ADAPTERS)
    gates = [asyncio.Event() for _ in STEPS]
    agent.script = [part for gate, step in zip(gates, STEPS, strict=True) for part in (Wait(gate), step)]
    return gates


class Cuts:
    """Clients of one answer that were cut, and have come back; ``comings`` reads the rest for each."""

    def __init__(self, http: HttpClient, way: Way, name: str, stack: AsyncExitStack) -> None:
        self._http, self._way, self._name, self._stack = http, way, name, stack
        self._cuts: list[tuple[Seen, Any]] = []

    async def cut(self, body: bytes, start: int) -> None:
        """Cut the client of a body behind each byte from ``start`` on. Those with one cursor come back as one."""
        readers: dict[Cursor, Any] = {}
        for end in range(start, len(body) + 1):
            seen = seen_of(body[:end])
            cursor = cursor_behind(seen) if self._way.has_cursor else None
            if cursor not in readers:
                request = self._way.come_back(self._name, cursor)
                reading = opened(self._http, request.method, request.path, body=request.body, headers=request.headers)
                readers[cursor] = await self._stack.enter_async_context(reading)
            self._cuts.append((seen, readers[cursor]))

    async def see(self, whole: Seen) -> None:
        """Each sees the rest, and in all what a client sees that is not cut."""
        bodies: dict[Any, Seen] = {}
        for seen, reader in self._cuts:
            if reader not in bodies:
                assert reader.answer.status == 200
                bodies[reader] = seen_of(without_time(await reader.all_bytes()))
                assert reader.is_whole
            assert (seen if self._way.has_cursor else []) + bodies[reader] == whole


async def beginning(http: HttpClient, request: Request) -> bytes:
    """What is in the log by now, for a client from the start, which then loses its connection."""
    async with http.open(request.method, request.path, body=request.body, headers=request.headers) as (_, chunks):
        while not (chunk := await anext(chunks)):
            pass
        return without_time(chunk)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.usefixtures("store")
async def test_answer_cut_at_any_byte_is_given_whole_and_once(http, agent, held_steps, way):
    """The answer stands still before each step of the agent, and clients are cut at each byte that is there."""
    name = new_id()
    ask = way.ask(name)
    body = b""
    async with AsyncExitStack() as stack:
        uncut = await stack.enter_async_context(opened(http, ask.method, ask.path, body=ask.body, headers=ask.headers))
        cuts = Cuts(http, way, name, stack)
        for frames, gate in enumerate(held_steps, start=1):
            await has_frames(name, frames)
            start, body = len(body), await beginning(http, ask)
            await cuts.cut(body, start)
            gate.set()
        raw = without_time(await uncut.all_bytes())
        assert raw.startswith(body)
        await has_frames(name, len(STEPS) + 1)
        if way.gives_ended:
            await cuts.cut(raw, 0)
        await cuts.see(seen_of(raw))
    assert len(agent.requests) == 1


class SocketWay(NamedTuple):
    """How a front end asks and comes back over a socket, of which it loses whole frames alone."""

    path: Callable[[str, Cursor], str]
    ask: Callable[[str], Any]
    come_back: Callable[[str, Cursor], Any]  # the first frame; none where the path says it all
    over_http: Callable[[str], Request]
    event: Callable[[Any], tuple[Cursor, Any] | None]
    is_end: Callable[[Any], bool]
    has_cursor: bool = False


def chunk_of(frame: Any) -> tuple[Cursor, Any] | None:
    return (str(frame["sequence"]), frame["chunk"]) if frame["type"] == "chunk" else None


def ai_sdk_socket(come_back: Callable[[str, Cursor], Any], *, has_cursor: bool = False) -> SocketWay:
    return SocketWay(
        lambda *_: CHAT_SOCKET,
        send_chat,
        come_back,
        ai_sdk,
        chunk_of,
        lambda frame: frame["type"] == "end",
        has_cursor,
    )


def event_of(frame: Any) -> tuple[Cursor, Any] | None:
    return (frame["id"], frame["chunk"]) if "id" in frame else None


RUNS = SocketWay(
    path=lambda name, cursor: replay_path(name, cursor) if cursor else RUN_SOCKET,
    ask=lambda name: ag_ui(name).body,
    come_back=lambda name, cursor: None if cursor else ag_ui(name).body,
    over_http=ag_ui,
    event=event_of,
    is_end=lambda frame: frame.get("chunk", {}).get("type") == "RUN_FINISHED",
    has_cursor=True,
)
SOCKET_WAYS = {
    "AI SDK, the same message": ai_sdk_socket(lambda name, _: send_chat(name)),
    "AI SDK, the turn in flight": ai_sdk_socket(lambda name, _: resume_chat(name)),
    "AI SDK, behind a chunk": ai_sdk_socket(resume_chat, has_cursor=True),
    "AG-UI, behind an event": RUNS,
}


async def events_of(client: CommunicatorClient, way: SocketWay, count: float = float("inf")) -> Seen:
    """Read so many events, or all up to the end."""
    seen: Seen = []
    while len(seen) < count:
        frame = await client.frame()
        if event := way.event(frame):
            seen.append(event)
        if way.is_end(frame):
            return seen
    return seen


@pytest.mark.parametrize("way", SOCKET_WAYS.values(), ids=SOCKET_WAYS)
@pytest.mark.usefixtures("store")
async def test_socket_cut_behind_any_event_gives_the_answer_whole_and_once(application, http, agent, held_steps, way):
    name, kept = new_id(), 0
    returned: list[tuple[Seen, CommunicatorClient]] = []
    async with AsyncExitStack() as stack:

        async def open_with(frame: Any, cursor: Cursor = None) -> CommunicatorClient:
            client = await stack.enter_async_context(CommunicatorClient(application, way.path(name, cursor)))
            if frame is not None:
                await client.send(frame)
            return client

        uncut = await open_with(way.ask(name))
        for frames, gate in enumerate(held_steps, start=1):
            await has_frames(name, frames)
            known = len(seen_of(await beginning(http, way.over_http(name))))
            async with CommunicatorClient(application, way.path(name, None)) as client:
                await client.send(way.ask(name))
                seen = await events_of(client, way, known)
            for end in range(kept, known + 1):
                cursor = cursor_behind(seen[:end]) if way.has_cursor else None
                returned.append((seen[:end], await open_with(way.come_back(name, cursor), cursor)))
            kept = known
            await has_viewers(name, len(returned) + 1)  # else the answer might end before they have come
            gate.set()
        whole = await events_of(uncut, way)
        assert json.dumps(whole).count("clock") == 3
        for before, client in returned:
            assert (before if way.has_cursor else []) + await events_of(client, way) == whole
    assert len(agent.requests) == 1
