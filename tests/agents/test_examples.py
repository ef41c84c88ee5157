"""The examples of docs/agent.md for frameworks and servers: each is started as it is, and asked through a gateway."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests import processes
from tests.agents import kinds
from tests.agents.conftest import StartAgent
from tests.clients import SocketClient
from tests.examples import EXAMPLES, settings
from tests.server.conftest import until

RUN_BY_AGENTS = {
    *("sh openai", "sh aisdk", "sh responses", "sh a2a", "sh pydantic-ai", "sh langgraph"),
    *("python openai-agents", "python langgraph-inside", "python pydantic-ai", "python langgraph", "json langgraph"),
}
SERVED = {  # an example of settings, what has to be changed in it, and the agent
    "openai": ("litellm", {"AGENT_MODEL": "test"}, {"AGENT_API_KEY": kinds.KEY}),
    "responses": ("litellm", {"AGENT_MODEL": "test"}, {"AGENT_API_KEY": kinds.KEY}),
    "aisdk": ("pydantic-ai-aisdk", {}, {"AGENT_PATH": "/aisdk"}),
    "a2a": ("a2a", {}, {}),
}
LANGCHAIN_OPENAI = """
from langgraph_agent import Model

def ChatOpenAI(model):
    return Model()
"""
LANGGRAPH_DEV = """
import json, os, sys
from pathlib import Path
os.environ.update(LANGGRAPH_NO_VERSION_CHECK="true", LANGSMITH_TRACING="false")
from langgraph_api.cli import run_server
os.chdir(Path(__file__).parent)
graphs = json.loads(Path("langgraph.json").read_text())["graphs"]
run_server(port=int(sys.argv[1]), graphs=graphs, disable_persistence=True)
"""


def program(arguments: list[str], health: str = "/", **env: str) -> processes.Process:
    """A program in the agents' environment, with our package and the models of our agents to be imported."""
    env["PYTHONPATH"] = os.pathsep.join([str(processes.ROOT / "sdk/python/src"), str(kinds.PROGRAMS)])
    python = str(kinds.PYTHON)
    return processes.Process(arguments, health, python=python, start_seconds=kinds.START_SECONDS, **env)


def uvicorn(folder: Path, **env: str) -> processes.Process:
    """``uvicorn app:app``."""
    arguments = ["-m", "uvicorn", "--port", "{port}", "--log-level", "warning", "--app-dir", str(folder), "app:app"]
    return program(arguments, AGENT_KEY=processes.KEY, **env)


@asynccontextmanager
async def talk(**named: str) -> AsyncIterator[SocketClient]:
    """A session of a gateway with these settings."""
    with processes.gateway("serve", named.pop("AGENT_URL"), **named) as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/s/") as browser:
            yield browser


@pytest.mark.parametrize(("name", "served"), SERVED.items(), ids=SERVED)
async def test_settings(name, served, start_agent: StartAgent):
    kind, changed, added = served
    agent = start_agent(kinds.KINDS[kind])
    async with talk(**settings(name, AGENT_URL=agent.http_url, **changed), **added) as browser:
        assert await browser.ask("text") == "One two three"


async def test_openai_agents(tmp_path, start_agent: StartAgent):
    """Its model is behind LiteLLM's proxy. It remembers a session; Stop reaches the model."""
    model = start_agent(kinds.KINDS["litellm"])
    source = EXAMPLES["python openai-agents"].replace("conversations.db", str(tmp_path / "conversations.db"))
    (tmp_path / "app.py").write_text(source)
    variables = {
        "OPENAI_BASE_URL": f"{model.http_url}/v1",
        "OPENAI_API_KEY": kinds.KEY,
        "OPENAI_DEFAULT_MODEL": "test",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }
    with uvicorn(tmp_path, **variables) as agent:
        await assert_that_it_remembers_and_stops(agent, model, "Answer briefly. | text | recall")


async def test_langgraph_without_its_server(tmp_path):
    (tmp_path / "app.py").write_text(EXAMPLES["python langgraph-inside"])
    (tmp_path / "langchain_openai.py").write_text(LANGCHAIN_OPENAI)
    with uvicorn(tmp_path) as agent:
        await assert_that_it_remembers_and_stops(agent, agent, "text | recall")


async def assert_that_it_remembers_and_stops(
    agent: processes.Process, model: processes.Process, remembered: str
) -> None:
    stopped_before = model.output().count(kinds.STOPPED)
    async with talk(**settings("own", AGENT_URL=agent.http_url, INTERNAL_API_KEY=processes.KEY)) as browser:
        assert await browser.ask("text") == "One two three"
        assert await browser.ask("recall") == remembered
        await browser.say("endless")
        await browser.frame_of("assistant_message")
        stopped_at = time.monotonic()
        await browser.cancel()
        await browser.turn()
        await until(lambda: model.output().count(kinds.STOPPED) > stopped_before)
        print(f"heard after {1_000 * (time.monotonic() - stopped_at):.0f} ms")


async def test_pydantic_ai(tmp_path):
    """Its model is pydantic-ai's own for tests."""
    source = EXAMPLES["python pydantic-ai"].replace("openai:gpt-5", "test")
    (tmp_path / "app.py").write_text(source)
    with uvicorn(tmp_path) as agent:
        async with talk(**settings("pydantic-ai", AGENT_URL=agent.http_url)) as browser:
            await browser.say("hi")
            call, result, *_, end = [frame for frame in await browser.turn() if frame["type"] != "usage"]
            assert (call["tool_name"], result["result"], end["is_final"]) == ("clock", "half past nine", True)


async def test_langgraph(tmp_path):
    """Served as ``langgraph dev`` does; in the place of OpenAI's model is that of our agents."""
    (tmp_path / "agent.py").write_text(EXAMPLES["python langgraph"])
    (tmp_path / "langgraph.json").write_text(EXAMPLES["json langgraph"])
    (tmp_path / "langchain_openai.py").write_text(LANGCHAIN_OPENAI)
    (tmp_path / "dev.py").write_text(LANGGRAPH_DEV)
    with program([str(tmp_path / "dev.py"), "{port}"], "/ok") as agent:
        async with talk(**settings("langgraph", AGENT_URL=agent.http_url)) as browser:
            assert await browser.ask("text") == "One two three"
            assert await browser.ask("recall") == "text | recall"
