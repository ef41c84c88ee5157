"""Viewers that read a kilobyte a second beside ten that read at once."""

from __future__ import annotations

import asyncio
import json
import statistics
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from benchmarks.load_client import Tally, Viewer, connect, until
from relay.layers.values import new_id
from tests import processes
from tests.clients import LIMIT_SECONDS, V1, SocketClient, text_of
from tests.server.raw import TEXT, RawSocket, resident_bytes

FAST_VIEWERS, SLOW_VIEWERS = 10, 8
BURST, BURSTS = "script:big-answer 2000", 8  # 16 MB; for a viewer that does not read, the kernel takes about 3
PACED = "script:stamps 200 delay=0.01"
pytestmark = pytest.mark.needs("flow control")
MAX_GROWTH_BYTES = 52 * 2**20  # half of what the slow ones were not sent yet; Granian itself grows by 4 to 34 MB


@pytest.fixture(scope="module")
def crowded(server: str, scripted_agent: processes.Process) -> Iterator[processes.Process]:
    with processes.gateway(server, scripted_agent.http_url, BUFFER_SIZE="2000") as gateway:
        yield gateway


class SlowViewer:
    """Reads a kilobyte a second, until told to hurry."""

    def __init__(self, line: RawSocket) -> None:
        self._line = line
        self._turn_id = ""
        self._text = ""
        self._ended: dict[str, str] = {}  # the texts of the turns that have ended
        self._reading = asyncio.create_task(self._dawdle())

    async def _dawdle(self) -> None:
        while True:
            await self._read()
            await asyncio.sleep(0.15)  # its pace: a frame has 150 bytes

    async def _read(self) -> None:
        frame = await self._line.frame()
        if frame.opcode != TEXT:
            return
        fields = json.loads(frame.payload)
        if fields["type"] == "user_message":
            self._turn_id, self._text = fields["turn_id"], ""
        elif fields["type"] == "snapshot":
            self._turn_id, self._text = fields["turn_id"], fields["content"]
        elif fields["type"] == "assistant_message":
            self._text += fields["token"]
        if fields.get("is_final") or fields.get("finish_reason"):
            self._ended[self._turn_id] = self._text

    async def text_of(self, turn_id: str) -> str:
        """Read on as fast as it goes, to the end of a turn, and give its text."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        while turn_id not in self._ended:  # one that merges may be there already
            await self._read()
        return self._ended[turn_id]


async def turns_of(viewer: SocketClient, count: int) -> list[list[dict[str, Any]]]:
    return [await viewer.turn() for _ in range(count)]


async def turn(viewers: list[Viewer], content: str) -> None:
    """Let the agent answer, and the fast viewers see it."""
    turns = viewers[0].finals + 1
    viewers[0].say(content)
    assert await until(lambda: all(viewer.finals == turns for viewer in viewers), LIMIT_SECONDS)


async def bursts(viewers: list[Viewer]) -> None:
    for _ in range(BURSTS):
        await turn(viewers, BURST)


async def p99_ms(tally: Tally, viewers: list[Viewer]) -> float:
    """Let the agent answer at the pace of a quick model. Returns how old the tokens were when they were seen."""
    tally.latencies_ns = array("q")
    tally.is_recording = True
    await turn(viewers, PACED)
    tally.is_recording = False
    return statistics.quantiles(tally.latencies_ns, n=100)[-1] / 1e6


@asynccontextmanager
async def fast_viewers(url: str, tally: Tally) -> AsyncIterator[list[Viewer]]:
    viewers: list[Viewer] = []
    try:
        for _ in range(FAST_VIEWERS):
            viewers.append(await connect(Viewer(tally), url))
        yield viewers
    finally:
        for viewer in viewers:
            viewer.transport.disconnect()


async def test_slow_viewers_cost_little_delay_nobody_and_end_up_with_the_text(crowded, server, record_property):
    path, tally = f"/ws/{new_id()}/", Tally()
    url = f"{crowded.ws_url}{path}"
    async with AsyncExitStack() as leaving:
        viewers = await leaving.enter_async_context(fast_viewers(url, tally))
        await bursts(viewers)  # now the process is as large as it gets
        alone_ms = await p99_ms(tally, viewers)
        before = resident_bytes(crowded.pid)

        slow = []
        for query in ("", "coalesce=1") * (SLOW_VIEWERS // 2):  # one by one, and merged
            headers = f"Sec-WebSocket-Protocol: {V1}\r\n"
            line = RawSocket(crowded.port, f"{path}?{query}", headers=headers, buffer_bytes=4_096)
            slow.append(SlowViewer(await leaving.enter_async_context(line)))
        witness = await leaving.enter_async_context(SocketClient(url, [V1]))
        answers = asyncio.create_task(turns_of(witness, BURSTS))
        await bursts(viewers)
        await answers
        beside_ms = await p99_ms(tally, viewers)
        growth = resident_bytes(crowded.pid) - before
        newest = await witness.turn()
        for viewer in slow:
            assert await viewer.text_of(newest[-1]["turn_id"]) == text_of(newest)
        seen = [(viewer.tokens, viewer.errors) for viewer in viewers]

    record_property("p99 of the fast viewers beside slow ones, in times of what it is alone", beside_ms / alone_ms)
    print(f"{server}: p99 {alone_ms:.2f} ms alone, {beside_ms:.2f} ms beside; grown by {growth / 1024:.0f} KiB")
    assert growth < MAX_GROWTH_BYTES
    assert seen == [(2 * (BURSTS * 2_000 + 200), 0)] * FAST_VIEWERS
