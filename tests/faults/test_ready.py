"""``/ready`` of a gateway process while announcements are wedged and the store answers all the same."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.faults.deaf_proxy import DeafProxy
from tests.faults.valkey import Valkey


def ready(gateway: processes.Process) -> tuple[int, dict[str, bool]]:
    try:
        with urllib.request.urlopen(f"{gateway.http_url}/ready", timeout=60) as response:
            status, body = response.status, json.load(response)
    except urllib.error.HTTPError as error:
        status, body = error.code, json.load(error)
    return status, {name: check["ok"] for name, check in body["checks"].items()}


async def turns(gateway: processes.Process, status: int, *, red: str | None = None) -> None:
    """Wait until it answers so, with this check red and all others green: a slow moment may redden others for once."""
    wanted = status, {name: name != red for name in ("store", "announcements", "agent", "draining")}
    async with asyncio.timeout(LIMIT_SECONDS):
        while await asyncio.to_thread(ready, gateway) != wanted:
            await asyncio.sleep(0.1)


@pytest.fixture
async def proxy():
    with Valkey() as valkey:
        async with DeafProxy(int(valkey.url.rpartition(":")[2].partition("/")[0])) as proxy:
            yield proxy


async def test_wedged_announcements_turn_it_red_while_the_store_answers_and_then_green(proxy, scripted_agent):
    gateway = processes.gateway("serve", scripted_agent.http_url, REDIS_URL=proxy.url)
    await asyncio.to_thread(gateway.start)
    try:
        await turns(gateway, 200)
        proxy.is_deaf = True
        await turns(gateway, 503, red="announcements")
        proxy.is_deaf = False
        await turns(gateway, 200)
    finally:
        await asyncio.to_thread(gateway.__exit__)
