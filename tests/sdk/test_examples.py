"""The examples of docs/agent.md that need nothing but our packages: each is started, and asked through a gateway."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests import processes
from tests.agents.test_examples import RUN_BY_AGENTS
from tests.clients import SocketClient, text_of
from tests.examples import EXAMPLES, settings
from tests.sdk.conftest import SDK, node_agent, uvicorn_agent

RUN_HERE = {"sh own", "python fastapi", "python django", "js node", "python function", "sh function"}
DJANGO = """
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls", SECRET_KEY="-")
from django.core.asgi import get_asgi_application
app = get_asgi_application()
"""


def test_every_example_is_run():
    assert EXAMPLES.keys() == RUN_HERE | RUN_BY_AGENTS


@asynccontextmanager
async def talk(agent: processes.Process) -> AsyncIterator[SocketClient]:
    """A session of a gateway before an agent of one's own."""
    named = settings("own", AGENT_URL=agent.http_url, INTERNAL_API_KEY=processes.KEY)
    with agent, processes.gateway("serve", named.pop("AGENT_URL"), **named) as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/s/") as browser:
            yield browser


async def test_fastapi(tmp_path):
    (tmp_path / "app.py").write_text(EXAMPLES["python fastapi"])
    async with talk(uvicorn_agent("app:app", str(tmp_path))) as browser:
        await browser.say("two words")
        call, result, *tokens, end = await browser.turn()
        assert (call["tool_name"], result["result"]) == ("shout", "TWO WORDS")
        assert [frame["token"] for frame in tokens] == ["TWO ", "WORDS "]
        assert end["is_final"]
        await browser.say(" ")
        assert await browser.error() == "Please ask something."


async def test_django(tmp_path):
    (tmp_path / "urls.py").write_text(EXAMPLES["python django"])
    (tmp_path / "asgi.py").write_text(DJANGO)
    async with talk(uvicorn_agent("asgi:app", str(tmp_path))) as browser:
        assert await browser.ask("hi") == "Hello, stranger. You said: hi"


def node_example(folder: Path, source: str, **env: str) -> processes.Process:
    """``node server.mjs``, beside our package as npm links it."""
    packages = folder / "node_modules"
    packages.mkdir()
    (packages / "relay-agent").symlink_to(SDK / "javascript")
    (folder / "server.mjs").write_text(source.replace("8001", "process.argv[2]"))
    return node_agent(str(folder / "server.mjs"), **env)


async def test_node(tmp_path):
    page = processes.Process(["-m", "http.server", "{port}", "--directory", str(tmp_path)], "/")
    with page:
        (tmp_path / "page.txt").write_text("one\ntwo")
        agent = node_example(tmp_path, EXAMPLES["js node"], PAGE=f"{page.http_url}/page.txt")
        async with talk(agent) as browser:
            assert await browser.ask("hi") == "You said: hi. one two "
            (tmp_path / "page.txt").unlink()
            await browser.say("hi")
            assert await browser.error() == "The page cannot be read now."


async def test_function(tmp_path):
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite" / "assistant.py").write_text(EXAMPLES["python function"])
    named = {f"GATEWAY__{name}": value for name, value in settings("function").items()}
    with processes.Process(
        processes.SERVERS["serve"], PYTHONPATH=str(tmp_path), GATEWAY__TRANSCRIPTS="false", **named
    ) as gateway:
        async with SocketClient(f"{gateway.ws_url}/ws/s/") as browser:
            assert await browser.ask("hi") == "You said: hi. "
            assert await browser.ask("again") == "You said: again. Before that: hi."
            await browser.say("fail")
            assert await browser.error() == "You asked for it."


@pytest.mark.parametrize("package", ["python", "javascript"])
async def test_example_of_the_packages_own_page(tmp_path, package):
    source = re.search(r"^```\w+\n(.*?)^```", (SDK / package / "README.md").read_text(), re.DOTALL | re.MULTILINE)[1]
    if package == "python":
        (tmp_path / "app.py").write_text(source)
        agent = uvicorn_agent("app:app", str(tmp_path))
    else:
        agent = node_example(tmp_path, source)
    async with talk(agent) as browser:
        await browser.say("hi")
        thought, *answer = await browser.turn()
        assert (thought["type"], text_of(answer)) == ("reasoning", "You said: hi")
        await browser.say("")
        assert await browser.error() == "Please ask something."
