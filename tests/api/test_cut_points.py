"""Lines that are cut after any frame and come back: plain sockets, ``gateway.v1`` sockets, event streams, together."""

from __future__ import annotations

import abc
import asyncio
import itertools
from contextlib import AsyncExitStack
from typing import Any

import pytest
from channels.layers import channel_layers

from relay.delivery import timeouts
from relay.layers.values import new_id
from relay.process import lifecycle
from tests.buffer.redis_store import server_url
from tests.clients import LIMIT_SECONDS, V1, Client, CommunicatorClient, text_of
from tests.http_clients import API, HttpClient
from tests.scripted_agent import Final, Token, Wait

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
def store(request: pytest.FixtureRequest, application: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sessions are; a store is waited for as long as a machine may stand still."""
    if request.param == "redis":
        monkeypatch.setattr(timeouts, "STORE_SECONDS", LIMIT_SECONDS)
        backend = {"BACKEND": "relay.layers.redis.RedisSessionLayer", "CONFIG": {"urls": [server_url()]}}
        settings.CHANNEL_LAYERS = {"default": backend}
        channel_layers.backends = {}


@pytest.mark.parametrize(
    "kinds",
    [
        [SocketViewer],
        [StreamViewer],
        [PlainViewer],
        [SocketViewer, PlainViewer],
        [SocketViewer, StreamViewer],
        [PlainViewer, SocketViewer, StreamViewer, SocketViewer, PlainViewer],
    ],
    ids=lambda kinds: "-".join(kind.__name__.removesuffix("Viewer").lower() for kind in kinds),
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
            await ended(http, session_id)
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


async def ended(http: HttpClient, session_id: str) -> None:
    """Wait until no turn runs."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await http.get(f"{API}/{session_id}")).json()["offset"] < LENGTH:
            await asyncio.sleep(0.001)
