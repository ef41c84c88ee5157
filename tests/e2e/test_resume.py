"""Lost lines, lost processes and slow readers, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from tests import processes
from tests.clients import V1, SocketClient, text_of


def cut(browser: SocketClient) -> None:
    """Cut the line as a tunnel does: no close frame, only RST."""
    transport = browser.connection.transport
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@pytest.mark.parametrize("after", range(9))
async def test_line_cut_after_any_frame_is_resumed_without_loss(v1, server, after):
    session_id, query, seen = f"cut-{server}-{after}", "offset=0", []
    for visit in range(3):
        async with v1(session_id, query) as browser:
            welcome = await browser.frame()
            query = f"epoch={welcome['epoch']}&offset={welcome['after']}"
            if visit == 0:
                await browser.say("script:tokens 5 delay=0.02")
            wanted = len(seen) + after if visit < 2 else 8
            while len(seen) < min(wanted, 8):
                frame = await browser.frame()
                if "offset" in frame and frame["type"] != "ping":
                    seen.append(frame)
                    query = f"epoch={welcome['epoch']}&offset={frame['offset']}"
            cut(browser)
    assert [frame["offset"] for frame in seen] == list(range(1, 9))
    assert text_of(seen) == "0 1 2 3 4 "


async def test_restart_of_the_process_begins_a_new_epoch_and_says_so(server, scripted_agent):
    """Sessions are in memory: after a restart the client is told that its cursor is of another epoch."""
    with processes.gateway(server, scripted_agent.http_url) as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/s/", [V1]) as browser:
            epoch = (await browser.frame())["epoch"]
            await browser.say("script:tokens 100 delay=0.05")
            await browser.frame_of("assistant_message")
            gateway.restart()
        async with SocketClient(f"{gateway.ws_url}/ws/s/?epoch={epoch}&offset=3", [V1]) as browser:
            welcome = await browser.frame()
            assert (welcome["recovered"], welcome["after"]) == (False, None)
            assert welcome["epoch"] != epoch
            assert (await browser.frame())["reason"] == "epoch_changed"
            assert await browser.ask("next works") == "next works"


async def test_stop_from_another_tab_reaches_the_agent(v1, server, scripted_agent):
    async with v1(f"stop-{server}") as one, v1(f"stop-{server}") as two:
        await one.say("script:stall")
        await one.frame_of("assistant_message")
        await two.cancel()
        assert (await one.turn())[-1]["finish_reason"] == "cancelled"
        assert (await two.frame_of("cancel_ack"))["status"] == "cancelling"
        assert await one.ask("next works") == "next works"


async def test_hundred_viewers_see_the_same(plain, server):
    async with asyncio.timeout(60):
        sockets = [plain(f"fan-{server}") for _ in range(100)]
        async with contextmanaged(sockets):
            await sockets[0].say("script:tokens 50")
            answers = await asyncio.gather(*(browser.answer() for browser in sockets))
    assert set(answers) == {"".join(f"{number} " for number in range(50))}


class contextmanaged:  # noqa: N801 - used like a function
    """Open many sockets at once, and close them."""

    def __init__(self, sockets: list[SocketClient]) -> None:
        self._sockets = sockets

    async def __aenter__(self) -> None:
        await asyncio.gather(*(browser.__aenter__() for browser in self._sockets))

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(browser.__aexit__(*exc) for browser in self._sockets))
