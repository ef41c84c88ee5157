"""The JavaScript client in Node.js, from npm's tarball: with a class for WebSockets, and where none can be opened."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.front_ends import node
from tests.front_ends.client_package import install
from tests.front_ends.conftest import get
from tests.front_ends.cutting_proxy import CuttingProxy
from tests.front_ends.plain_nginx import PlainNginx
from tests.processes import environment

# Sends what its arguments say, and prints each answer; then stops one, and prints what the history has.
SCRIPT = """
import WebSocket from 'ws';
import { connect, readTurn } from 'agent-gateway-client';

const [base, sessionId, key, ...messages] = process.argv.slice(2);
const headers = { 'X-Internal-Auth': key };
const ticket = async () => {
  const body = JSON.stringify({ session_id: sessionId, subject: 'ann' });
  const answer = await fetch(`${process.env.GATEWAY}/api/v1/tickets`, { method: 'POST', headers, body });
  return (await answer.json()).ticket;
};
const client = connect({ base, sessionId, ticket, WebSocket });
const seen = [];
client.on('token', ({ from_offset, offset }) => seen.push(from_offset ?? offset, offset));
const answers = [];
for (const message of messages) answers.push(await client.send(message).done);
const stalled = client.send('script:stall');
for await (const text of stalled) if (text) stalled.cancel();
const { turns } = await client.history();
const isInOrder = seen.every((offset, index) => index === 0 || offset >= seen[index - 1]);
console.log(JSON.stringify({
  answers, isInOrder, stopped: stalled.finishReason, over: client.state.isOverHttp ? 'http' : 'socket',
  questions: turns.map((turn) => readTurn(turn).question).reverse(),
}));
client.close();
"""
ROOT_PATH = "/assistant"  # the client works below a prefix
WHOLE = "".join(f"{number} " for number in range(40))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (reason := node.lacks()) is not None:
        pytest.skip(reason)
    folder = install(tmp_path_factory.mktemp("node"), "ws")
    (folder / "script.js").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def ticketed(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    settings = {"WS_AUTH": "ticket", "HEARTBEAT_SECONDS": "1", "ROOT_PATH": ROOT_PATH}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def nginx(ticketed: processes.Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainNginx]:
    with PlainNginx(tmp_path_factory.mktemp("nginx"), ticketed.port) as nginx:
        yield nginx


async def run(project: Path, gateway: processes.Process, base: str, *messages: str) -> dict[str, object]:
    command = ["node", "script.js", base + ROOT_PATH, uuid4().hex, processes.KEY, *messages]
    pipe, env = asyncio.subprocess.PIPE, environment(GATEWAY=gateway.http_url + ROOT_PATH)
    process = await asyncio.create_subprocess_exec(*command, cwd=project, env=env, stdout=pipe)
    async with asyncio.timeout(LIMIT_SECONDS):
        said, _ = await process.communicate()
    return json.loads(said)


@pytest.mark.parametrize("way", ["socket", "http"])
async def test_script_is_answered_stops_and_reads_the_history(project, ticketed, nginx, way):
    base = ticketed.http_url if way == "socket" else nginx.http_url
    assert await run(project, ticketed, base, "zwölf 🙂 words", "script:tokens 40") == {
        "answers": ["zwölf 🙂 words", WHOLE],
        "isInOrder": True,
        "stopped": "cancelled",
        "over": way,
        "questions": ["zwölf 🙂 words", "script:tokens 40", "script:stall"],
    }


@pytest.mark.parametrize("token", ["", "0", "17", "39"])
async def test_event_stream_that_is_cut_goes_on_after_its_cursor(project, ticketed, nginx, scripted_agent, token):
    """Each message is asked once, and each answer is whole, wherever the connection is cut.

    It is cut before its first event, or before the one that has this token, alone or merged with others.
    """
    mark = re.compile(rb'"token":"[\d ]*\b%s ' % token.encode()) if token else b"data: {"
    async with CuttingProxy(int(nginx.http_url.rpartition(":")[2]), before=1, mark=mark) as proxy:
        question = f"script:tokens 40 delay=0.002 {uuid4().hex}"
        said = await run(project, ticketed, proxy.http_url, question)
        assert proxy.has_cut
    assert (said["answers"], said["isInOrder"], said["over"]) == ([WHOLE], True, "http")
    asked = json.loads(await asyncio.to_thread(get, f"{scripted_agent.http_url}/requests"))["requests"]
    assert [request["json"]["content"] for request in asked].count(question) == 1
