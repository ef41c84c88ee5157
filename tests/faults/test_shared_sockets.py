"""Sockets that chats share, each at another worker."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests import processes
from tests.clients import SocketClient
from tests.faults.conftest import running_cluster

HERE, THERE = 0, 1


@pytest.fixture(params=processes.servers_under_test("serve"))
def cluster(request, scripted_agent):
    """A turn whose worker dies ends when the lease is over; on a slow machine a shorter one is over while it lives."""
    with running_cluster(request.param, scripted_agent, ADAPTERS="ai-sdk") as cluster:
        yield cluster


@pytest.fixture(params=processes.servers_under_test("serve"))
def patient_cluster(request, scripted_agent):
    with running_cluster(request.param, scripted_agent, ADAPTERS="ai-sdk", LEASE_SECONDS="20") as cluster:
        yield cluster


class Chats(SocketClient):
    def __init__(self, worker, session_id):
        super().__init__(f"{worker.ws_url}/api/v1/ai-sdk/ws")
        self._session_id = session_id

    async def frame(self):
        while (frame := await super().frame())["type"] == "ping":
            pass
        return frame

    async def ask(self, kind, **fields):
        await self.send({"type": kind, "requestId": kind, "id": self._session_id, "headers": {}, "body": {}, **fields})

    async def request(self, words):
        parts = [{"type": "text", "text": words}]
        await self.ask("send", messages=[{"id": "m1", "role": "user", "parts": parts}])

    async def rest(self):
        """The frames up to the end of the request."""
        frames = []
        while not frames or frames[-1]["type"] in ("start", "chunk"):
            frames.append(await self.frame())
        return frames

    async def until(self, delta):
        while (frame := await self.frame()).get("chunk", {}).get("delta") != delta:
            assert frame["type"] in ("start", "chunk"), frame


def text_of(frames):
    return "".join(frame["chunk"].get("delta", "") for frame in frames if frame["type"] == "chunk")


async def test_turn_of_one_worker_is_resumed_and_stopped_at_another(patient_cluster):
    cluster = patient_cluster
    session_id = uuid4().hex
    async with Chats(cluster.gateways[HERE], session_id) as here, Chats(cluster.gateways[THERE], session_id) as there:
        await here.request(f"script:tokens 4 gate={session_id}")
        await here.until("1 ")
        await there.ask("resume", lastSequence=3)
        assert [(await there.frame())["type"] for _ in range(2)] == ["start", "chunk"]  # the second token
        await there.send({"type": "abort", "requestId": "resume"})
        for client in (here, there):
            frames = await client.rest()
            assert (frames[-2]["chunk"], frames[-1]["type"]) == ({"type": "abort", "reason": "cancelled"}, "end")


async def test_turn_whose_worker_dies_is_an_error_at_the_other(cluster):
    session_id = uuid4().hex
    async with Chats(cluster.gateways[THERE], session_id) as there:
        async with Chats(cluster.gateways[HERE], session_id) as here:
            await here.request("script:stall")
            await here.until("a ")
            await there.ask("resume")
            await there.until("a ")
            cluster.gateways[HERE].kill()
            assert await here.close_code() == 1006
        frames = await there.rest()
        assert (frames[-2]["chunk"]["type"], frames[-1]["type"]) == ("error", "end")
