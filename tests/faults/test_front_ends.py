"""Other front ends' answers with two workers over one store: the turn here, its viewers there."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from relay.layers.values import new_id
from tests import processes
from tests.clients import LIMIT_SECONDS, text_of
from tests.faults.conftest import running_cluster
from tests.http_clients import API

HERE, THERE = 0, 1
BROKEN = (httpx.RemoteProtocolError, httpx.ReadError)
WHOLE = "".join(f"{number} " for number in range(8))


@pytest.fixture
def cluster(scripted_agent):
    settings = {"ADAPTERS": "ai-sdk,ag-ui,openai", "DRAIN_SECONDS": "0", "LEASE_SECONDS": "20"}
    with running_cluster("serve", scripted_agent, **settings) as cluster:
        yield cluster


class Answer:
    """Reads the events of one answer."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.ids: list[str] = []
        self.text = ""

    async def until(self, text: str) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.text != text:
                assert await self._event(), self.text

    async def rest(self) -> str:
        async with asyncio.timeout(LIMIT_SECONDS):
            while await self._event():
                pass
        return self.text

    async def _event(self) -> bool:
        """Read an event, in whichever of the three protocols. Returns false at the end."""
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.ids.append(value)
            if name == "data":
                event = json.loads(value) if value.startswith("{") else {}
                deltas = [choice["delta"].get("content", "") for choice in event.get("choices", [])]
                self.text += "".join([event.get("delta", ""), *deltas])
                return True
        return False


@asynccontextmanager
async def answer(gateway: processes.Process, method: str, path: str, body=None, **headers) -> AsyncIterator[Answer]:
    headers = {"X-Internal-Auth": processes.KEY, **headers}
    async with (
        httpx.AsyncClient(base_url=gateway.http_url, timeout=LIMIT_SECONDS, trust_env=False) as http,
        http.stream(method, path, json=body, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        yield Answer(response)


def ai_sdk(gateway, session_id, words):
    message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": words}]}
    return answer(gateway, "POST", "/api/v1/ai-sdk/chat", {"id": session_id, "messages": [message]})


def ag_ui(gateway, session_id, words, **headers):
    messages = [{"id": "m", "role": "user", "content": words}]
    body = {"threadId": session_id, "runId": "r", "messages": messages}
    return answer(gateway, "POST", "/api/v1/ag-ui", body, **headers)


async def test_one_session_is_watched_by_every_kind_of_client_of_both_workers(cluster):
    session_id = new_id()
    here, there = cluster.gateways
    words = f"script:tokens 8 gate={session_id}"
    async with (
        cluster.open(THERE, session_id) as v1,
        cluster.open_plain(HERE, session_id) as plain,
        ai_sdk(here, session_id, words) as one,
    ):
        await one.until("0 1 2 3 ")
        async with (
            ai_sdk(there, session_id, words) as two,
            answer(there, "GET", f"/api/v1/ai-sdk/chat/{session_id}/stream") as three,
        ):
            for reader in (two, three):
                await reader.until("0 1 2 3 ")
            await asyncio.to_thread(cluster.open_gate, session_id)
            assert [await reader.rest() for reader in (one, two, three)] == [WHOLE] * 3
        assert (await v1.answer(), text_of(await plain.turn())) == (WHOLE, WHOLE)
    assert cluster.asked(session_id) == 1


async def test_run_that_a_worker_started_goes_on_behind_the_cursor_at_another(cluster):
    session_id = new_id()
    here, there = cluster.gateways
    words = f"script:tokens 8 gate={session_id}"
    async with ag_ui(here, session_id, words) as one:
        await one.until("0 1 ")
        cursor = one.ids[-1]
    async with ag_ui(there, session_id, words, **{"Last-Event-ID": cursor}) as two:
        await two.until("2 3 ")
        await asyncio.to_thread(cluster.open_gate, session_id)
        assert await two.rest() == WHOLE.removeprefix("0 1 ")
    assert cluster.asked(session_id) == 1


async def test_worker_that_drains_breaks_off_what_another_still_answers(cluster):
    session_id = new_id()
    here, there = cluster.gateways
    words = f"script:tokens 8 gate={session_id}"
    async with ai_sdk(here, session_id, words) as one, ai_sdk(there, session_id, words) as two:
        for reader in (one, two):
            await reader.until("0 1 2 3 ")
        await asyncio.to_thread(there.signal, signal.SIGTERM)
        with pytest.raises(BROKEN):
            await two.rest()
        async with answer(here, "GET", f"/api/v1/ai-sdk/chat/{session_id}/stream") as back:
            await back.until("0 1 2 3 ")
            await asyncio.to_thread(cluster.open_gate, session_id)
            assert [await reader.rest() for reader in (one, back)] == [WHOLE] * 2
        await asyncio.to_thread(there.wait)


async def test_answer_whose_worker_is_killed_ends_as_an_error_elsewhere(cluster):
    """Another worker finds the turn abandoned and ends it: the agent is not asked again."""
    session_id = new_id()
    here, there = cluster.gateways
    async with answer(
        here, "POST", "/v1/chat/completions", completion("script:stall"), **{"X-Session-Id": session_id}
    ) as one:
        await one.until("a ")
        async with answer(there, "GET", f"/api/v1/ai-sdk/chat/{session_id}/stream") as two:
            await two.until("a ")
            here.kill()
            with pytest.raises(BROKEN):
                await one.rest()
            assert await two.rest() == "a "
    page = httpx.get(f"{there.http_url}{API}/{session_id}", headers={"X-Internal-Auth": processes.KEY}).json()
    assert (page["active"], cluster.asked(session_id)) == (None, 1)


def completion(words):
    return {"stream": True, "messages": [{"role": "user", "content": words}]}
