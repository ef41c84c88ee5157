"""``serve --workers``: processes on one socket that are replaced, killed and ended while their clients talk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from relay.layers.values import new_id
from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient, text_of
from tests.deploy.visitors import RESTART, Visitor
from tests.faults.returning_clients import ReturningClient
from tests.faults.valkey import Valkey
from tests.scraping import Scrape, scrape
from tests.server.conftest import until
from tests.server.test_drain import begin_answer, go_on

VISITORS = 200
TOKENS = 15
SERVE = [*processes.SERVERS["serve"], "--workers", "2"]


class Workers(processes.Process):
    """A gateway of two workers."""

    def __init__(self, store: Valkey, agent: processes.Process, **settings: str) -> None:
        env = {"INTERNAL_API_KEY": processes.KEY, "AGENT_URL": agent.http_url, "REDIS_URL": store.url}
        env |= {"TRANSCRIPTS": "false", "LOG_LEVEL": "INFO", "DRAIN_SECONDS": "30", **settings}
        super().__init__(SERVE, **{f"GATEWAY__{name}": value for name, value in env.items()})

    def wait_until_up(self) -> None:
        super().wait_until_up()  # one of them
        while self.times_ready() < 2:
            assert self.is_running
            time.sleep(0.05)

    def times_ready(self) -> int:
        """How often was a worker ready?"""
        return sum(line["event"].endswith(" ready") for line in self.lines("relay.server.supervisor"))

    def lines(self, logger: str) -> list[dict]:
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["logger"] == logger]

    def worker_pids(self) -> list[int]:
        return processes.children(self.pid)

    def open(self, session_id: str, query: str = "") -> SocketClient:
        return ReturningClient(f"{self.ws_url}/ws/{session_id}/?{query}", [V1])

    async def counted_of_both(self) -> Scrape:
        """Scrape until both workers have answered in time."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while (counted := await asyncio.to_thread(scrape, self.http_url))["gateway_build_info"] < 2:
                await asyncio.sleep(0.05)
        return counted


@pytest.fixture(scope="module")
def store() -> Iterator[Valkey]:
    with Valkey() as store:
        yield store


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The file of a setting, which a new worker reads."""
    file = tmp_path / "version"
    file.write_text("first")
    return file


@pytest.fixture
def gateway(store: Valkey, scripted_agent: processes.Process, version: Path) -> Iterator[Workers]:
    """A gateway of a test's gateway."""
    with Workers(store, scripted_agent, VERSION_FILE=str(version)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.output(), gateway.output()


def version_of(gateway: Workers) -> str:
    with urllib.request.urlopen(f"{gateway.http_url}/health") as response:
        return json.load(response)["version"]


def times_asked(agent: processes.Process, prefix: str) -> Counter[str]:
    with urllib.request.urlopen(f"{agent.http_url}/requests") as response:
        sessions = [request["json"]["session_id"] for request in json.load(response)["requests"]]
    return Counter(session_id for session_id in sessions if session_id.startswith(prefix))


@pytest.mark.timeout(300)
async def test_hangup_replaces_workers_and_every_answer_arrives_whole_and_once(gateway, scripted_agent, version):
    is_over = asyncio.Event()
    question = f"script:tokens {TOKENS} delay=0.2"
    visitors = [Visitor(gateway.ws_url, f"hangup-{number}", question, {}) for number in range(VISITORS)]
    staying = [asyncio.create_task(visitor.stay(is_over)) for visitor in visitors]

    def all_have_another_answer(before: list[int]) -> bool:
        for task in staying:
            if task.done():
                task.result()  # never before it is over, but with an error
        return all(len(visitor.answers) > count for visitor, count in zip(visitors, before, strict=True))

    await until(lambda: all_have_another_answer([0] * VISITORS))
    counted = await gateway.counted_of_both()
    assert len([name for name, count in counted.items() if name.startswith("gateway_sockets{") and count]) == 2  # each
    assert {line["worker"] for line in gateway.lines("relay.server.gateway")} == {0, 1}
    old, times_ready = gateway.worker_pids(), gateway.times_ready()
    version.write_text("second")
    gateway.signal(signal.SIGHUP)
    await until(lambda: not set(old) & set(gateway.worker_pids()))
    assert gateway.times_ready() == times_ready + 2
    before = [len(visitor.answers) for visitor in visitors]
    await until(lambda: all_have_another_answer(before))
    is_over.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*staying)

    whole = "".join(f"{number} " for number in range(TOKENS))
    assert {answer for visitor in visitors for answer in visitor.answers} == {whole}
    assert sum(RESTART in visitor.close_codes for visitor in visitors) > VISITORS // 2
    assert times_asked(scripted_agent, "hangup-") == {visitor.session_id: len(visitor.answers) for visitor in visitors}
    assert version_of(gateway) == "second"
    assert gateway.stop() == 0


async def test_answers_of_a_killed_worker_end_and_another_worker_takes_its_place(gateway, scripted_agent):
    """Those of the other worker go on."""
    gate, sessions = new_id(), [f"killed-{number}" for number in range(VISITORS)]
    outcomes = Counter()

    async def talk(session_id: str) -> None:
        seen = []
        async with gateway.open(session_id) as client:
            await client.frame_of("welcome")
            await client.say(f"script:tokens 20 gate={gate}")
            with contextlib.suppress(ConnectionClosed):
                seen += [await client.frame_of("assistant_message")]
                running.release()
                seen += await client.turn()
        if not (seen[-1].get("is_final") or seen[-1]["type"] == "error"):
            assert client.connection.close_code == 1006
            async with gateway.open(session_id, "offset=0") as client:
                seen = await client.turn()
        outcomes[seen[-1].get("code", "whole")] += 1
        async with gateway.open(session_id) as client:
            assert await client.ask("again") == "again"

    running = asyncio.Semaphore(0)
    times_ready = gateway.times_ready()
    talking = [asyncio.create_task(talk(session_id)) for session_id in sessions]
    for _ in sessions:
        await running.acquire()
    os.kill(gateway.worker_pids()[0], signal.SIGKILL)
    await until(lambda: gateway.times_ready() > times_ready)
    await go_on(scripted_agent, gate)
    await asyncio.gather(*talking)
    assert set(outcomes) == {"whole", "interrupted"}
    assert "signal 9" in gateway.output()
    await ends(gateway, scripted_agent, signal.SIGTERM, readiness=503, clients=VISITORS)
    assert await asyncio.to_thread(gateway.wait) == 0


async def test_workers_whose_parent_was_killed_end_and_leave_the_address(gateway, scripted_agent):
    await ends(gateway, scripted_agent, signal.SIGKILL, readiness=None, clients=8)


async def ends(
    gateway: Workers, agent: processes.Process, number: signal.Signals, *, readiness: int | None, clients: int
) -> None:
    """Let the parent end while answers run: they finish, and the workers end. New clients meanwhile see a status."""
    gate, pids = new_id(), gateway.worker_pids()
    assert len(pids) == 2
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(gateway.open(f"end-{gate}-{index}")) for index in range(clients)]
        for client in opened:
            await begin_answer(client, f"tokens 3 gate={gate}")
        gateway.signal(number)
        await until(lambda: readiness_of(gateway) == readiness)
        await go_on(agent, gate)
        for client in opened:
            assert text_of(await client.turn()) == "1 2 "
            assert (await client.frame_of("disconnect"))["code"] == "server_restart"
            assert await client.close_code() == RESTART
    await until(lambda: not any(map(is_alive, pids)))


def readiness_of(gateway: Workers) -> int | None:
    """The status of /ready; nothing if no process listens."""
    try:
        with urllib.request.urlopen(f"{gateway.http_url}/ready", timeout=60) as response:
            return response.status
    except urllib.error.HTTPError as exc:
        return exc.code
    except urllib.error.URLError:
        return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def refusal(*arguments: str, **settings: str) -> str:
    """What ``serve`` says as it ends without having served."""
    named = {f"GATEWAY__{name}": value for name, value in settings.items()}
    ended = processes.run(["manage.py", "serve", *arguments], **named)
    assert ended.returncode == 1, ended.stdout
    assert "Traceback" not in ended.stdout
    return ended.stdout


@pytest.mark.parametrize(("arguments", "settings"), [(["--workers", "2"], {}), ([], {"WORKERS": "auto"})])
def test_workers_without_a_store_are_refused(arguments, settings):
    assert "Several workers need a store" in refusal(*arguments, **settings)


def test_taken_address_and_wrong_setting_are_named_once(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = refusal("--workers", "2", "--port", str(taken.getsockname()[1]), REDIS_URL=store.url)
    assert words.count("in use") == 1
    words = refusal("--workers", "2", REDIS_URL=store.url, MAX_QUEUE="many")
    assert words.count("GATEWAY__MAX_QUEUE must be") == 1
