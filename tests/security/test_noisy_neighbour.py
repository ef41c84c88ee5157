"""One client at ten times its limits, beside others: they get their answers, and how much later is told."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import processes
from tests.clients import V1, SocketClient

QUIET_CLIENTS, QUESTIONS = 10, 10
PAUSE_SECONDS = 0.2  # between a quiet client's questions: about what one core has time for beside other tests
LIMITS = {"RATE_LIMIT": "300", "ADDRESS_RATE_LIMIT": "300", "MAX_SOCKETS": "10", "ADDRESS_MAX_SOCKETS": "10"}
NOISE_MESSAGES_PER_SECOND = 10 * 300 / 60
NOISE_SOCKETS_PER_SECOND = 10 * 10 / 10


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway("serve", scripted_agent.http_url, TRUSTED_PROXIES="1", **LIMITS) as gateway:
        yield gateway


def client(gateway: processes.Process, address: str, session_id: str) -> SocketClient:
    headers = {"X-Forwarded-For": address}
    return SocketClient(f"{gateway.ws_url}/ws/{session_id}/", [V1], additional_headers=headers)


async def quiet_round(gateway: processes.Process, name: str) -> list[float]:
    """How long each answer took, in seconds, of clients that ask and read."""

    async def ask(number: int) -> list[float]:
        taken = []
        async with client(gateway, f"192.0.2.{number}", f"quiet-{name}-{number}") as browser:
            for question in range(QUESTIONS):
                began_at = time.monotonic()
                assert f"question {question}" in await browser.ask(f"question {question}")
                taken.append(time.monotonic() - began_at)
                await asyncio.sleep(PAUSE_SECONDS)
        return taken

    rounds = await asyncio.gather(*(ask(number) for number in range(1, QUIET_CLIENTS + 1)))
    return sorted(seconds for taken in rounds for seconds in taken)


async def make_noise(gateway: processes.Process, said: Counter[str]) -> None:
    """Say and open ten times what is allowed, from one address, and read all that comes back."""

    async def talk(browser: SocketClient) -> None:
        while True:
            await browser.say("noise" * 200)
            await asyncio.sleep(1 / NOISE_MESSAGES_PER_SECOND)

    async def hear(browser: SocketClient) -> None:
        while True:
            frame = await browser.frame()
            said[frame.get("code", frame["type"])] += 1

    async def open_sockets() -> None:
        while True:
            async with client(gateway, "198.51.100.1", "noise") as browser:
                frame = await browser.frame()
                said[f"opened: {frame.get('code', frame['type'])}"] += 1
            await asyncio.sleep(1 / NOISE_SOCKETS_PER_SECOND)

    async with contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(client(gateway, "198.51.100.1", "noise")) for _ in range(10)]
        async with asyncio.TaskGroup() as group:
            group.create_task(talk(held[0]))
            group.create_task(hear(held[0]))
            group.create_task(open_sockets())


def p99(seconds: list[float]) -> float:
    return seconds[math.ceil(len(seconds) * 0.99) - 1]


@pytest.mark.soak
async def test_others_get_their_answers(gateway, record_property, capsys):
    await quiet_round(gateway, "warm")
    alone = await quiet_round(gateway, "alone")
    said: Counter[str] = Counter()
    noise = asyncio.create_task(make_noise(gateway, said))
    async with asyncio.timeout(60):
        while not (said["rate_limited"] and said["opened: rate_limited"]):
            assert not noise.done(), noise
            await asyncio.sleep(0.01)
    beside = await quiet_round(gateway, "beside")
    noise.cancel()
    await asyncio.gather(noise, return_exceptions=True)
    assert len(beside) == len(alone) == QUIET_CLIENTS * QUESTIONS
    ratio = p99(beside) / p99(alone)
    record_property("p99_ratio", ratio)
    middle = len(alone) // 2
    with capsys.disabled():
        print(
            f"\n  p99 of {len(alone)} answers: {p99(alone) * 1000:.1f} ms alone, {p99(beside) * 1000:.1f} ms beside "
            f"one noisy client ({ratio:.2f}); median {alone[middle] * 1000:.1f} and {beside[middle] * 1000:.1f} ms; "
            f"refused: {said['rate_limited']} messages, {said['opened: rate_limited']} sockets"
        )
