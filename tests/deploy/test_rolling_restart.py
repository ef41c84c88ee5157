"""Every process of a cluster is restarted while its clients talk, and none of them notices more than a pause."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests import processes
from tests.deploy.visitors import RESTART, Visitor
from tests.faults.valkey import Valkey
from tests.server.conftest import until

VISITORS = 200
TOKENS = 15
ANSWER = "".join(f"{number} " for number in range(TOKENS))


@pytest.fixture
def gateways(scripted_agent: processes.Process) -> Iterator[list[processes.Process]]:
    with ExitStack() as stack:
        store = stack.enter_context(Valkey())
        settings = {"REDIS_URL": store.url, "LOG_LEVEL": "INFO", "TRUSTED_PROXIES": "1", "DRAIN_SECONDS": "30"}
        gateways = [processes.gateway("serve", scripted_agent.http_url, **settings) for _ in range(2)]
        stack.enter_context(processes.running(*gateways))
        yield gateways


def asked(agent: processes.Process) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{agent.http_url}/requests") as response:
        return json.load(response)["requests"]


@pytest.mark.timeout(300)
async def test_every_answer_arrives_whole_and_once_and_nobody_is_cut(gateways, scripted_agent, start_nginx):
    nginx = start_nginx(*(gateway.port for gateway in gateways))
    is_over = asyncio.Event()
    visitors = [
        Visitor(nginx.wss_url, f"rolling-{number}", f"script:tokens {TOKENS} delay=0.2", {"ssl": nginx.tls})
        for number in range(VISITORS)
    ]
    staying = [asyncio.create_task(visitor.stay(is_over)) for visitor in visitors]

    def everyone_has_another_answer(before: list[int]) -> bool:
        for task in staying:
            if task.done():
                task.result()  # never before it is over, but with an error
        return all(len(visitor.answers) > count for visitor, count in zip(visitors, before, strict=True))

    for gateway in gateways:
        before = [len(visitor.answers) for visitor in visitors]
        await until(lambda before=before: everyone_has_another_answer(before), limit_seconds=60)
        gateway.signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait) == 0
        await asyncio.to_thread(gateway.start)
    is_over.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*staying)

    assert {answer for visitor in visitors for answer in visitor.answers} == {ANSWER}
    sent_away = [visitor for visitor in visitors if RESTART in visitor.close_codes]
    assert len(sent_away) > VISITORS * 3 // 4  # both had their part of the clients
    times = Counter(request["json"]["session_id"] for request in asked(scripted_agent))
    assert times == {visitor.session_id: len(visitor.answers) for visitor in visitors}
    for gateway in gateways:
        assert "Traceback" not in gateway.output()
