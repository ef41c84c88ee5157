"""A real agent, as operators see it: readiness, the doctor, and the reason of a refusal."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from functools import partial

import pytest

from tests import processes
from tests.agents.conftest import Service, StartAgent
from tests.agents.kinds import KINDS, START_SECONDS
from tests.agents.test_answers import before
from tests.clients import V1, SocketClient
from tests.server.conftest import until

pytestmark = pytest.mark.timeout(START_SECONDS + 120)  # an agent may have to start


def is_ready(gateway: processes.Process) -> bool:
    try:
        with urllib.request.urlopen(f"{gateway.http_url}/ready") as response:
            return response.status == 200
    except urllib.error.HTTPError:
        return False


@before()
async def test_gateway_is_ready_and_doctor_has_a_turn(service: Service):
    """The doctor's own checks send an agent no message that it could act on; ``--say`` does."""
    await until(lambda: is_ready(service.gateway))  # it checks the agent for less than a second: that may be too short
    settings = {"AGENT_URL": service.agent.http_url, "INTERNAL_API_KEY": processes.KEY, "TRANSCRIPTS": "false"}
    env = {f"GATEWAY__{name}": value for name, value in {**settings, **service.kind.settings}.items()}
    doctor = await asyncio.to_thread(partial(processes.manage, "doctor", "--say", "text", **env))
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert '{"type":"assistant_message","token":" three","is_final":false}' in doctor.stdout


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"AGENT_MODEL": "unknown"}, "Invalid model name"), ({"AGENT_API_KEY": "sk-wrong"}, "No connected db")],
)
async def test_refusal_is_logged_in_the_agents_words(start_agent: StartAgent, setting: dict[str, str], words: str):
    """LiteLLM looks a key that is not its own up in a database, and has none here."""
    kind = KINDS["litellm"]
    agent = start_agent(kind)
    with processes.gateway("serve", agent.http_url, **{**kind.settings, **setting}) as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/refused/", [V1]) as socket:
            await socket.say("text")
            *_, error = await socket.turn()
        assert error["code"] == "upstream_error"
        await until(lambda: "turn ended" in gateway.output())
        assert '"upstream_status": 400' in gateway.output()
        assert words in gateway.output()
