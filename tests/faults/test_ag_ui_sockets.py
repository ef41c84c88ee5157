"""AG-UI's sockets with two workers over one store: the run here, its replays and its messages there."""

from __future__ import annotations

import json
from uuid import uuid4

import httpx
import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS, SocketClient
from tests.faults.conftest import running_cluster

HERE, THERE = 0, 1
PATH = "/api/v1/ag-ui"
ENDS = ("RUN_FINISHED", "RUN_ERROR")


@pytest.fixture(params=processes.servers_under_test("serve"))
def cluster(request, scripted_agent):
    """A run whose worker dies ends when the lease is over; on a slow machine a shorter one is over while it lives."""
    with running_cluster(request.param, scripted_agent, ADAPTERS="ag-ui") as cluster:
        yield cluster


@pytest.fixture(params=processes.servers_under_test("serve"))
def patient_cluster(request, scripted_agent):
    with running_cluster(request.param, scripted_agent, ADAPTERS="ag-ui", LEASE_SECONDS="20") as cluster:
        yield cluster


class Runs(SocketClient):
    def __init__(self, worker, query=""):
        super().__init__(f"{worker.ws_url}{PATH}/ws{query}")
        self.last_id = ""

    async def run(self, thread_id, run_id, words):
        messages = [{"id": "u", "role": "user", "content": words}]
        await self.send({"threadId": thread_id, "runId": run_id, "messages": messages})

    async def event(self):
        while (frame := json.loads(await self.text())).get("type") == "ping":
            pass
        self.last_id = frame.get("id", "")
        return frame.get("chunk", frame)

    async def until(self, delta):
        while (event := await self.event()).get("delta") != delta:
            assert event.get("type") not in ENDS, event

    async def rest(self):
        """The text up to the run's end, and that event."""
        text = ""
        while (event := await self.event())["type"] not in ENDS:
            text += event.get("delta", "")
        return text, event


async def messages_of(worker, thread_id):
    async with httpx.AsyncClient(base_url=worker.http_url, timeout=LIMIT_SECONDS, trust_env=False) as http:
        headers = {"X-Internal-Auth": processes.KEY}
        return (await http.get(PATH, params={"threadId": thread_id}, headers=headers)).json()


async def test_run_of_one_worker_is_hydrated_replayed_and_stopped(patient_cluster):
    cluster = patient_cluster
    here, there = cluster.gateways
    thread_id, run_id = uuid4().hex, uuid4().hex
    async with Runs(here) as runs:
        await runs.run(thread_id, run_id, f"script:tokens 4 gate={thread_id}")
        await runs.until("1 ")
        page = await messages_of(there, thread_id)
        assert ([message["role"] for message in page["messages"]], page["activeRun"]) == (["user"], {"runId": run_id})
        async with (
            Runs(there, f"?runId={run_id}&offset=-1") as whole,
            Runs(there, f"?runId={run_id}&offset={runs.last_id}") as rest,
        ):
            await whole.until("1 ")
            await runs.send({"type": "abort", "runId": run_id})
            for replay in (whole, rest):
                text, last = await replay.rest()
                assert (text, last["outcome"], await replay.close_code()) == ("", {"type": "cancelled"}, 1000)
    page = await messages_of(there, thread_id)
    assert ([message["role"] for message in page["messages"]], page["activeRun"]) == (["user", "assistant"], None)


async def test_run_is_resumed_at_the_other_worker_and_asked_once(patient_cluster):
    cluster = patient_cluster
    here, there = cluster.gateways
    thread_id, run_id = uuid4().hex, uuid4().hex
    words = f"script:tokens 4 gate={thread_id}"
    async with Runs(here) as runs:
        await runs.run(thread_id, run_id, words)
        await runs.until("1 ")
    async with Runs(there, f"?runId={run_id}&offset={runs.last_id}") as replay, Runs(there) as again:
        await again.run(thread_id, run_id, words)
        await again.until("1 ")
        cluster.open_gate(thread_id)
        assert (await replay.rest())[0] == "2 3 "
        assert (await again.rest())[0] == "2 3 "
        assert await replay.close_code() == 1000


async def test_run_whose_worker_dies_is_an_error_at_the_other(cluster):
    here, there = cluster.gateways
    thread_id, run_id = uuid4().hex, uuid4().hex
    async with Runs(here) as runs:
        await runs.run(thread_id, run_id, "script:stall")
        await runs.until("a ")
        async with Runs(there, f"?runId={run_id}&offset=-1") as replay:
            await replay.until("a ")
            here.kill()
            assert await runs.close_code() == 1006
            _, last = await replay.rest()
            assert (last["type"], last["code"]) == ("RUN_ERROR", "interrupted")
