"""Other front ends' answers with two workers over one store: the turn here, its viewers there."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from relay.layers.values import new_id
from tests import processes
from tests.clients import LIMIT_SECONDS, SocketClient, text_of
from tests.faults.conftest import running_cluster
from tests.front_end_requests import (
    ADAPTERS,
    CHAT_SOCKET,
    Request,
    ag_ui,
    ai_sdk,
    chat_in_flight,
    openai,
    replay_path,
    resume_chat,
)
from tests.http_clients import API

HERE, THERE = 0, 1
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
WHOLE = "".join(f"{number} " for number in range(8))
TEXT = "a b"


@pytest.fixture
def cluster(scripted_agent):
    settings = {"ADAPTERS": ADAPTERS, "DRAIN_SECONDS": "0", "LEASE_SECONDS": "20"}
    with running_cluster("serve", scripted_agent, **settings) as cluster:
        yield cluster


class Answer:
    """Reads the events of one answer, in whichever protocol; ``kinds`` are theirs."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.ids: list[str] = []
        self.events: list[str] = []
        self.kinds: list[str] = []
        self.text = ""

    async def until(self, text: str) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.text != text:
                assert await self.event(), self.text

    async def until_kind(self, kind: str) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while kind not in self.kinds:
                assert await self.event(), self.kinds

    async def rest(self) -> str:
        async with asyncio.timeout(LIMIT_SECONDS):
            while await self.event():
                pass
        return self.text

    async def event(self) -> bool:
        """Read an event. Returns false at the end."""
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.ids.append(value)
            if name == "data":
                self._note(value)
                return True
        return False

    def _note(self, value: str) -> None:
        event = json.loads(value) if value.startswith("{") else {}
        self.events.append(value)
        self.kinds.append(event.get("type") or event.get("object") or value)
        if self.kinds[-1] in ("text-delta", "TEXT_MESSAGE_CONTENT"):
            self.text += event["delta"]
        self.text += event.get("token", "") if event.get("type") == "assistant_message" else ""
        self.text += "".join(choice["delta"].get("content", "") for choice in event.get("choices", []))


@asynccontextmanager
async def answer(gateway: processes.Process, request: Request) -> AsyncIterator[Answer]:
    headers = {"X-Internal-Auth": processes.KEY, **request.headers}
    async with (
        httpx.AsyncClient(base_url=gateway.http_url, timeout=LIMIT_SECONDS, trust_env=False) as http,
        http.stream(request.method, request.path, json=request.body, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Answer(response)


FORMS = {
    ai_sdk: {"start", "reasoning-delta", "tool-input-available", "tool-output-available", "data-agent_switched"},
    ag_ui: {"RUN_STARTED", "REASONING_MESSAGE_CONTENT", "TOOL_CALL_START", "TOOL_CALL_RESULT", "CUSTOM"},
    openai: {"chat.completion.chunk", "[DONE]"},
}


@pytest.mark.parametrize("start", [ai_sdk, ag_ui, openai])
async def test_one_session_is_watched_by_every_kind_of_client_of_both_workers(cluster, start):
    """A front end asks; it, its second page and all others are given the same answer, each in its form."""
    session_id = new_id()
    here, there = cluster.gateways
    words = f"script:kinds gate={session_id}"
    async with (
        cluster.open(THERE, session_id) as v1,
        cluster.open_plain(HERE, session_id) as plain,
        answer(there, Request("GET", f"{API}/{session_id}/events", None, {})) as log,
        answer(here, start(session_id, words)) as asking,
    ):
        await asking.until("a ")
        async with (
            answer(there, chat_in_flight(session_id)) as chat,
            chats(there, session_id) as socket,
            answer(there, start(session_id, words)) as again,
        ):
            await again.until("a ")
            await chat.until_kind("data-agent_switched")
            await log.until_kind("agent_switched")
            frames = [await socket.frame() for _ in range(2)]
            await asyncio.to_thread(cluster.open_gate, session_id)
            assert [await reader.rest() for reader in (asking, again, chat)] == [TEXT] * 3
            await log.until(TEXT)
            while frames[-1]["type"] != "end":
                frames.append(await socket.frame())
        chunks = [frame["chunk"] for frame in frames if frame["type"] == "chunk"]
        assert chunks == [json.loads(event) for event in chat.events if event != "[DONE]"]
        assert asking.kinds == again.kinds
        assert FORMS[start] <= set(asking.kinds)
        assert FORMS[ai_sdk] <= set(chat.kinds)
        in_v1, in_plain = await v1.turn(), await plain.turn()
    assert (text_of(in_v1), text_of(in_plain)) == (TEXT, TEXT)
    assert kinds_of(in_v1) == ["welcome", "user_message", *kinds_of(in_plain)]
    assert log.kinds == kinds_of(in_v1)[:-1]  # up to the last text
    assert cluster.asked(session_id) == 1


def kinds_of(frames):
    return [frame["type"] for frame in frames]


@asynccontextmanager
async def chats(gateway, session_id):
    async with SocketClient(gateway.ws_url + CHAT_SOCKET) as client:
        await client.send(resume_chat(session_id))
        yield client


async def replayed(socket):
    """The next event of a run."""
    while (frame := await socket.frame()) == {"type": "ping"}:
        pass
    return frame["id"], frame["chunk"]


@pytest.mark.parametrize("is_over", [False, True], ids=["in flight", "ended"])
async def test_run_cut_behind_any_event_goes_on_at_the_other_worker(cluster, is_over):
    session_id = new_id()
    words = f"script:kinds gate={session_id}"
    here, there = cluster.gateways
    async with AsyncExitStack() as stack:
        uncut = await stack.enter_async_context(answer(here, ag_ui(session_id, words)))
        await uncut.until_kind("CUSTOM")
        cuts = list(uncut.ids)
        if is_over:
            await asyncio.to_thread(cluster.open_gate, session_id)
            await uncut.rest()
        readers, sockets = [], []
        for number, cursor in enumerate(cuts):
            reading = answer((here, there)[number % 2], ag_ui(session_id, words, cursor))
            readers.append(await stack.enter_async_context(reading))
            replay = (here, there)[number % 2].ws_url + replay_path(session_id, cursor)
            sockets.append(await stack.enter_async_context(SocketClient(replay)))
        await asyncio.to_thread(cluster.open_gate, session_id)
        await uncut.rest()
        for number, reader in enumerate(readers, start=1):
            await reader.rest()
            assert (uncut.events[:number] + reader.events, uncut.kinds[-1]) == (uncut.events, "RUN_FINISHED")
        whole = list(zip(uncut.ids, map(json.loads, uncut.events), strict=True))
        for number, socket in enumerate(sockets, start=1):
            assert [await replayed(socket) for _ in whole[number:]] == whole[number:]
            assert await socket.close_code() == 1000
    assert cluster.asked(session_id) == 1


async def test_run_that_a_worker_started_goes_on_behind_the_cursor_at_another(cluster):
    session_id = new_id()
    here, there = cluster.gateways
    words = f"script:tokens 8 gate={session_id}"
    async with answer(here, ag_ui(session_id, words)) as one:
        await one.until("0 1 ")
        cursor = one.ids[-1]
    async with answer(there, ag_ui(session_id, words, cursor)) as two:
        await two.until("2 3 ")
        await asyncio.to_thread(cluster.open_gate, session_id)
        assert await two.rest() == WHOLE.removeprefix("0 1 ")
    assert cluster.asked(session_id) == 1


async def test_worker_that_drains_breaks_off_what_another_still_answers(cluster):
    session_id = new_id()
    here, there = cluster.gateways
    words = f"script:tokens 8 gate={session_id}"
    async with answer(here, ai_sdk(session_id, words)) as one, answer(there, ai_sdk(session_id, words)) as two:
        for reader in (one, two):
            await reader.until("0 1 2 3 ")
        await asyncio.to_thread(there.signal, signal.SIGTERM)
        with pytest.raises(BROKEN):
            await two.rest()
        async with answer(here, chat_in_flight(session_id)) as back:
            await back.until("0 1 2 3 ")
            await asyncio.to_thread(cluster.open_gate, session_id)
            assert [await reader.rest() for reader in (one, back)] == [WHOLE] * 2
        await asyncio.to_thread(there.wait)


async def test_answer_whose_worker_is_killed_ends_as_an_error_elsewhere(cluster):
    """Another worker finds the turn abandoned and ends it: the agent is not asked again."""
    session_id = new_id()
    here, there = cluster.gateways
    async with answer(here, openai(session_id, "script:stall")) as one:
        await one.until("a ")
        async with answer(there, chat_in_flight(session_id)) as two:
            await two.until("a ")
            here.kill()
            with pytest.raises(BROKEN):
                await one.rest()
            assert await two.rest() == "a "
    page = httpx.get(
        f"{there.http_url}{API}/{session_id}", headers={"X-Internal-Auth": processes.KEY}, timeout=LIMIT_SECONDS
    ).json()
    assert (page["active"], cluster.asked(session_id)) == (None, 1)
