"""Two workers are restarted, one after the other, under two hundred answers of two minutes each."""

import asyncio
import time
from collections import Counter

import pytest

from relay.layers.values import new_id
from tests import processes, scraping
from tests.faults.valkey import Valkey
from tests.returning_viewer import ReturningViewer

ANSWERS = 200
NUMBERS = 400
DELAY_SECONDS = 0.3  # between the numbers
TEXT = " ".join(str(number) for number in range(1, NUMBERS + 1))
DEMO = ["manage.py", "demo_agent", "--port", "{port}", "--delay", str(DELAY_SECONDS)]


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_restart_under_two_hundred_answers_is_noticed_by_no_viewer():
    with Valkey() as valkey, processes.Process(DEMO, GATEWAY__INTERNAL_API_KEY=processes.KEY) as agent:
        settings = {"REDIS_URL": valkey.url, "DRAIN_SECONDS": "300"}  # no answer is waited for
        gateways = [processes.gateway("serve", agent.http_url, **settings) for _ in range(2)]
        with processes.running(*gateways):
            viewers = [ReturningViewer(gateways, number % 2, new_id()) for number in range(ANSWERS)]
            exits = []
            async with asyncio.timeout(500), asyncio.TaskGroup() as tasks:
                watching = [tasks.create_task(viewer.watch(f"count to {NUMBERS}")) for viewer in viewers]
                for viewer in viewers:
                    await viewer.has(20)
                for gateway in gateways:
                    running = sum(not viewer.is_over for viewer in viewers)
                    stopped_at = time.monotonic()
                    await asyncio.to_thread(gateway.stop)
                    exits.append((running, round(time.monotonic() - stopped_at, 2)))
                    assert not any(task.done() for task in watching)
                    await asyncio.to_thread(gateway.start)
            counted = [await asyncio.to_thread(scraping.scrape, gateway.http_url) for gateway in gateways]
    codes = Counter(code for viewer in viewers for code in viewer.close_codes)
    whole = sum(viewer.text == TEXT for viewer in viewers)
    print(
        f"{ANSWERS} answers; at each stop those that ran, and the seconds until the process was gone: {exits};"
        f" close codes {dict(codes)}; whole answers {whole};"
        f" ended since by the workers that were started: {[now['gateway_turns_total'] for now in counted]}"
    )
    for viewer in viewers:
        assert viewer.text == TEXT
        viewer.check_order()
    assert set(codes) == {1012}
