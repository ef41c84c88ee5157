"""TanStack AI's own client over WebSocket: what is so over this transport alone. See ``test_tanstack``."""

from __future__ import annotations

import asyncio

from tests import processes
from tests.faults.proxy import Proxy
from tests.front_ends.conftest import ADAPTERS
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.tanstack import SOCKET, answers, has_delta


class CountingProxy(Proxy):
    """Counts connections."""

    count = 0

    def new_line(self) -> None:
        self.count += 1


async def test_runs_of_a_chat_share_a_socket(gateway, session_id):
    async with CountingProxy(gateway.port) as proxy, SOCKET.client(proxy.port, threadId=session_id) as program:
        for words in ("one", "two"):
            await program.do("send", text=words)
            await program.until_done("send")
        assert (program.last("status"), answers(program)) == ("ready", ["one", "two"])
        assert proxy.count == 1


async def test_refusal_is_shown_in_its_words(gateway, session_id):
    async with SOCKET.client(gateway.port, threadId=session_id) as program:
        await program.do("send", text="x" * 5_000)
        await program.until_done("send")
        assert program.last("error") == "This message is too long (limit 4 KB)."
        await program.do("send", text="short")
        await program.until_done("send")
        assert (program.last("status"), answers(program)[-1]) == ("ready", "short")


async def test_stop_reaches_the_agent(gateway, session_id):
    async with SOCKET.client(gateway.port, threadId=session_id) as program:
        await program.do("send", text="script:stall")
        await program.until(has_delta("a "))
        await program.do("stop")
        await program.until_done("send")
        assert program.last("status") == "ready"
        await program.do("send", text="next works")  # so the stalled turn is over
        await program.until_done("send")
        assert answers(program)[-1] == "next works"


async def test_message_that_interrupts_stops_the_run_before_it_and_can_be_stopped_itself(gateway, session_id):
    """This client takes the end of a run that it has stopped for that of the next one."""
    async with SOCKET.client(gateway.port, threadId=session_id) as program:
        for _ in range(3):
            await program.do("send", text="script:stall", whenBusy="interrupt")
            await program.until(has_delta("a "))
        await program.do("stop")
        await program.do("send", text="works")
        await program.until(has_delta("works"))


async def test_run_after_one_that_was_stopped_comes_back_where_it_is_cut(gateway, session_id):
    mark = b'"delta":"5 "'
    async with (
        CuttingProxy(gateway.port, before=1, mark=mark) as proxy,
        SOCKET.client(proxy.port, threadId=session_id) as program,
    ):
        await program.do("send", text="script:stall")
        await program.until(has_delta("a "))
        await program.do("send", text="script:tokens 8 delay=0.01", whenBusy="interrupt")
        await program.until(has_delta("7 "))
        await program.until(lambda change: change.get("chunk", {}).get("type") == "RUN_FINISHED")
        await program.do("tell")
        await program.until_done("tell")
        assert proxy.has_cut
        assert answers(program)[-1] == "".join(f"{number} " for number in range(8))


async def test_answer_of_a_gateway_that_stops_is_never_shown_as_complete(scripted_agent, session_id):
    with processes.gateway("serve", scripted_agent.http_url, **ADAPTERS, DRAIN_SECONDS="0") as mortal:
        async with SOCKET.client(mortal.port, threadId=session_id) as program:
            await program.do("send", text="script:stall")
            await program.until(has_delta("a "))
            await asyncio.to_thread(mortal.stop)
            await program.until(lambda change: "error" in change)
            await program.do("tell")
            await program.until_done("tell")
            assert program.last("status") == "error"
