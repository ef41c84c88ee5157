"""What is done at a moment, by a task that has an owner."""

from __future__ import annotations

import asyncio

from relay.delivery.timer import Timer


async def test_an_alarm_that_is_set_again_as_it_is_stopped_rings_no_more():
    rings = []

    async def ring() -> None:
        rings.append(ringing.set())
        try:
            await asyncio.Event().wait()
        finally:
            timer.schedule(0)

    ringing = asyncio.Event()
    timer = Timer(ring)
    timer.schedule(0)
    async with asyncio.timeout(60):
        await ringing.wait()
        await timer.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(rings) == 1
