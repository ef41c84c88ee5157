"""OpenAI's own libraries before a real gateway: for Node.js and, where it is installed, for Python."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests import processes
from tests.agents.kinds import PYTHON
from tests.clients import LIMIT_SECONDS
from tests.front_ends.node import Program


def completion(gateway: processes.Process, session_id: str, words: str, *, stream: bool = True) -> Program:
    options = {"url": f"{gateway.http_url}/v1", "key": processes.KEY, "headers": {"X-Session-Id": session_id}}
    return Program("completion", json.dumps({**options, "words": words, "stream": stream}))


@pytest.mark.parametrize("stream", [True, False])
async def test_text_comes_whole_and_once(gateway, session_id, stream):
    async with completion(gateway, session_id, "zwölf 🙂 words", stream=stream) as program:
        *pieces, end = await program.end()
        assert end == {"end": "finished"}
        assert "".join(piece["text"] for piece in pieces) == "zwölf 🙂 words"
        assert pieces[-1]["finish"] == "stop"


@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-agents: `make .venv-agents/installed` makes it")
@pytest.mark.parametrize("stream", [True, False])
def test_library_for_python_gets_the_same(gateway, session_id, stream):
    options = {"url": f"{gateway.http_url}/v1", "key": processes.KEY, "session_id": session_id, "stream": stream}
    program = Path(__file__).parent / "programs" / "completion.py"
    told = subprocess.run(
        [PYTHON, program, json.dumps({**options, "words": "zwölf 🙂 words"})],
        capture_output=True,
        check=True,
        timeout=LIMIT_SECONDS,
    )
    assert json.loads(told.stdout) == {"text": "zwölf 🙂 words", "finish": "stop", "models": ["agent"]}


@pytest.mark.parametrize("stream", [True, False])
async def test_failed_turn_is_an_error_and_the_agent_is_asked_once(gateway, session_id, stream, times_asked):
    words = f"script:error no quota {session_id}"
    async with completion(gateway, session_id, words, stream=stream) as program:
        end = (await program.end())[-1]
        assert (end["end"], f"no quota {session_id}" in end["error"]) == ("failed", True)
    assert await asyncio.to_thread(times_asked, words) == 1


async def test_refusal_comes_in_its_words(gateway, session_id):
    async with completion(gateway, session_id, "x" * 5_000) as program:
        end = (await program.end())[-1]
        assert (end["status"], "This message is too long" in end["error"]) == (413, True)


async def test_answer_of_a_gateway_that_is_killed_fails(mortal, session_id):
    async with completion(mortal, session_id, "script:stall") as program:
        await program.until(lambda change: change.get("text") == "a ")
        await asyncio.to_thread(processes.Process.kill, mortal)
        assert (await program.end())[-1]["end"] == "failed"
