"""TanStack AI's own client before a real gateway: it comes back by itself where its connection is cut."""

from __future__ import annotations

import asyncio

import pytest

from tests import processes
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.tanstack import WHOLE, answers, has_delta

EVENTS = 11  # of `tokens 8`: RUN_STARTED, TEXT_MESSAGE_START, eight deltas, TEXT_MESSAGE_END; then the last one


async def test_text_is_shown_whole_and_once(gateway, transport, session_id):
    async with transport.client(gateway.port, threadId=session_id, words="zwölf 🙂 words") as program:
        await program.end()
        assert (program.last("status"), answers(program)) == ("ready", ["zwölf 🙂 words"])
        assert program.last("chunk")["outcome"] == {"type": "success"}


async def test_reasoning_within_a_text_repeats_nothing(gateway, transport, session_id):
    async with transport.client(gateway.port, threadId=session_id, words="script:tools") as program:
        await program.end()
        assert (program.last("status"), answers(program)) == ("ready", ["a ", "b"])
        kinds = [[part["type"] for part in message["parts"]] for message in program.last("messages")[1:]]
        assert kinds == [["text", "thinking"], ["text", "tool-call", "tool-result"]]


@pytest.mark.parametrize("before", range(2, EVENTS + 2))
async def test_answer_that_is_cut_before_any_event_is_shown_whole_and_once(
    gateway, transport, session_id, before, times_asked
):
    words = f"script:tokens 8 delay=0.01 finish={session_id}"
    async with (
        CuttingProxy(gateway.port, before=before, mark=transport.mark, spares_first=True) as proxy,
        transport.client(proxy.port, threadId=session_id, words=words) as program,
    ):
        await program.end()
        assert proxy.has_cut
        assert (program.last("status"), answers(program)) == ("ready", [WHOLE])
    assert await asyncio.to_thread(times_asked, words) == 1


async def test_error_is_told_in_its_words(gateway, transport, session_id):
    async with transport.client(gateway.port, threadId=session_id, words="script:error no quota") as program:
        await program.end()
        assert (program.last("status"), program.last("error")) == ("error", "no quota")


async def test_answer_of_a_gateway_that_is_killed_is_never_shown_as_complete(mortal, transport, session_id):
    async with transport.client(mortal.port, threadId=session_id, words="script:stall") as program:
        await program.until(has_delta("a "))
        await asyncio.to_thread(processes.Process.kill, mortal)
        await program.end()
        assert program.last("status") == "error"


async def test_run_is_joined_by_its_id(gateway, transport, session_id, open_gate, times_asked):
    words = f"script:tokens 8 gate={session_id}"
    async with transport.client(gateway.port, threadId=session_id, words=words) as first:
        await first.until(has_delta("3 "))
        run_id = next(change["chunk"]["runId"] for change in first.changes if "chunk" in change)
        async with transport.client(gateway.port, join=run_id) as second:
            await second.until(has_delta("3 "))
            await asyncio.to_thread(open_gate, session_id)
            chunks = [change["chunk"] for change in await second.end() if "chunk" in change]
        assert "".join(chunk.get("delta", "") for chunk in chunks) == WHOLE
        assert second.last("end") == "finished"
    assert await asyncio.to_thread(times_asked, words) == 1
