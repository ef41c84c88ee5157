"""The end of one process of two that share a store: the other goes on with what it leaves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import processes
from tests.clients import V1, SocketClient, text_of
from tests.faults.valkey import Valkey
from tests.server.test_drain import RESTART, begin_answer, exit_code, go_on, stopping


@pytest.fixture(scope="module")
def store() -> Iterator[Valkey]:
    with Valkey() as store:
        yield store


@pytest.fixture
def times() -> dict[str, str]:
    """Settings of both; a case may ask for others. The longer the lease, the later a sweep finds what waits."""
    return {"DRAIN_SECONDS": "60", "LEASE_SECONDS": "12"}


@pytest.fixture
def pair(store, times, scripted_agent) -> Iterator[list[processes.Process]]:
    """The process that will end, and the one that stays."""
    settings = {"REDIS_URL": store.url, "TRANSCRIPTS": "false", **times}
    with ExitStack() as stack:
        gateways = [processes.gateway("serve", scripted_agent.http_url, **settings) for _ in range(2)]
        stack.enter_context(processes.running(*gateways))
        yield gateways


def v1(service: processes.Process, session_id: str, query: str = "") -> SocketClient:
    return SocketClient(f"{service.ws_url}/ws/{session_id}/?{query}", [V1])


async def test_answer_finishes_here_and_the_next_one_is_given_there(pair, scripted_agent):
    ending, staying = pair
    async with v1(ending, "shared") as client, v1(staying, "shared") as other:
        await begin_answer(client, "tokens 2 gate=shared")
        await client.say("next")
        assert (await client.frame_of("accepted"))["status"] == "queued"
        await stopping(ending)
        await go_on(scripted_agent, "shared")
        whole = "0 1 "
        assert [await other.answer(), await other.answer()] == [whole, "next"]
        frames = await client.turn()
        assert "0 " + text_of(frames) == whole
        leaving = await client.frame_of("disconnect")
        assert leaving["reconnect"] is True
        assert await client.close_code() == RESTART
    assert await exit_code(ending) == 0


@pytest.mark.parametrize("times", [{"DRAIN_SECONDS": "0.5", "LEASE_SECONDS": "30"}])
async def test_answer_that_is_cut_frees_the_session_at_once(pair):
    """Long before its lease of 30 seconds has run out."""
    ending, staying = pair
    async with v1(ending, "cut") as client, v1(staying, "cut") as other:
        await begin_answer(client, "tokens 1000 delay=0.05")
        ending.signal(signal.SIGTERM)
        assert (await client.turn())[-1]["code"] == "shutting_down"
        assert (await other.turn())[-1]["code"] == "shutting_down"
        assert await client.close_code() == RESTART
        assert await other.ask("again") == "again"
    assert await exit_code(ending) == 0
