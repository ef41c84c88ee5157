"""AG-UI's own client before a real gateway."""

from __future__ import annotations

import asyncio
import json

from tests import processes
from tests.front_ends.conftest import KEY
from tests.front_ends.node import Program


def run(gateway: processes.Process, thread_id: str, words: str, run_id: str = "r1") -> Program:
    options = {"url": f"{gateway.http_url}/api/v1/ag-ui", "headers": KEY}
    return Program("run", json.dumps({**options, "threadId": thread_id, "runId": run_id, "words": words}))


def answer(program: Program) -> list[str]:
    return [message["content"] for message in program.last("messages") if message["role"] == "assistant"]


async def test_text_comes_whole_and_once(gateway, session_id):
    async with run(gateway, session_id, "zwölf 🙂 words") as program:
        changes = await program.end()
        assert (changes[-1]["end"], answer(program)) == ("finished", ["zwölf 🙂 words"])
        assert program.last("event")["outcome"] == {"type": "success"}


async def test_reasoning_within_a_text_repeats_nothing(gateway, session_id):
    async with run(gateway, session_id, "script:tools") as program:
        changes = await program.end()
        assert (changes[-1]["end"], "".join(answer(program))) == ("finished", "a b")


async def test_same_run_again_is_asked_once(gateway, session_id, times_asked):
    words = f"words of {session_id}"
    for _ in range(2):
        async with run(gateway, session_id, words) as program:
            await program.end()
            assert answer(program) == [words]
    assert await asyncio.to_thread(times_asked, words) == 1


async def test_error_and_refusal_come_in_their_words(gateway, session_id):
    async with run(gateway, session_id, "script:error no quota") as program:
        await program.end()
        assert program.last("event") == {"type": "RUN_ERROR", "message": "no quota", "code": "upstream_error"}
    async with run(gateway, session_id, "x" * 5_000, "r2") as program:
        changes = await program.end()
        assert changes[-1]["end"] == "failed"
        assert "This message is too long" in changes[-1]["error"]


async def test_run_of_a_gateway_that_is_killed_fails(mortal, session_id):
    async with run(mortal, session_id, "script:stall") as program:
        await program.until(lambda change: change.get("event", {}).get("delta") == "a ")
        await asyncio.to_thread(processes.Process.kill, mortal)
        assert (await program.end())[-1]["end"] == "failed"
