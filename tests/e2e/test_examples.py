"""What docs/client.md offers to copy works as it stands: programs and commands, run against a gateway."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from django.core.management import get_commands

from relay.tasks import cancel_and_wait
from tests import processes
from tests.clients import LIMIT_SECONDS
from tests.tcp_server import TcpServer

GUIDE = (processes.ROOT / "docs" / "client.md").read_text()
QUESTION = "What is the capital of France?"


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """Its agent repeats what was said."""
    with processes.gateway("serve", scripted_agent.http_url) as gateway:
        yield gateway


async def run(source: str, port: int) -> str:
    """Run a program from the guide against a gateway, and give what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source.replace("localhost:8000", f"127.0.0.1:{port}"), stdout=subprocess.PIPE
    )
    async with asyncio.timeout(LIMIT_SECONDS):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode().strip()


@pytest.mark.parametrize("number", range(2))
async def test_python_example_prints_the_answer(gateway, number):
    assert await run(examples("python")[number], gateway.port) == QUESTION


@asynccontextmanager
async def cutting(port: int, cuts: list[int]) -> AsyncIterator[int]:
    """A way to the gateway that breaks after so many bytes to the client, once for each number."""
    left = list(cuts)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
        upward = asyncio.create_task(pump(reader, back_writer, None))
        try:
            await pump(back_reader, writer, left.pop(0) if left else None)
        finally:
            back_writer.transport.abort()
            await cancel_and_wait(upward)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None) -> None:
        passed = 0
        while data := await reader.read(most - passed if most else 65_536):
            writer.write(data)
            passed += len(data)
            if most and passed >= most:
                return

    async with TcpServer(pass_on) as server:
        yield server.port
    assert not left, "the line was not cut"


async def test_resuming_python_example_gets_the_answer_over_lines_that_break(gateway, scripted_agent):
    """Within the handshake, within frames, within the answer."""
    source = examples("python")[1].replace(QUESTION, "script:tokens 200 delay=0.005")
    source = source.replace("/ws/demo/", "/ws/cut/").replace("random.uniform(0, ", "0.01 * random.uniform(0, ")
    async with cutting(gateway.port, [50, 900, 5_000, 3_000]) as port:
        assert await run(source, port) == " ".join(map(str, range(200)))


class Shell:
    """The commands of the guide's example, each in a shell where its variables are set."""

    def __init__(self, port: int) -> None:
        (block,) = examples("sh")
        block = block.replace("localhost:8000", f"127.0.0.1:{port}").replace("change-me-internal-key", processes.KEY)
        block = block.replace("sessions/demo", "sessions/commands")
        self.variables, *commands = re.sub(r"\\\n\s*", "", block).split("\n\n")
        self.commands = [line for part in commands for line in part.splitlines() if not line.startswith("#")]

    def start(self, command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(["sh", "-c", f"{self.variables}\nexec {command}"], stdout=subprocess.PIPE, text=True)

    def run(self, command: str) -> str:
        return self.start(command).communicate(timeout=LIMIT_SECONDS)[0]


def until_final(stream: subprocess.Popen[str]) -> list[str]:
    """The lines of an event stream, up to the end of an answer; then hang up."""
    lines = []
    assert stream.stdout is not None
    for line in stream.stdout:
        lines.append(line.strip())
        if '"is_final":true' in line:
            break
    stream.terminate()
    stream.communicate(timeout=LIMIT_SECONDS)
    return lines


def test_commands_watch_ask_stop_and_come_back(gateway):
    shell = Shell(gateway.port)
    watch, ask, stop, come_back = shell.commands
    watching = shell.start(watch)
    assert watching.stdout is not None
    while '"welcome"' not in (line := watching.stdout.readline()):
        assert line, "the stream ended"
    assert '"status":' in shell.run(ask)
    lines = until_final(watching)
    assert QUESTION in "".join(re.findall(r'"token":"([^"]*)"', "".join(lines)))
    assert '"status":"unknown"' in shell.run(stop).replace(" ", "")
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    again = until_final(shell.start(come_back.replace("<epoch>:<offset>", ids[0])))
    assert [line for line in again if line.startswith("id: ")][1:] == [f"id: {one}" for one in ids[1:]]


def test_commands_of_the_readme_exist_and_are_named_once():
    readme = (processes.ROOT / "README.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    lines = [line.partition("#")[0].split() for block in blocks for line in block.splitlines() if "make" not in line]
    packaged = [words for words in lines if words[0] in ("agent-gateway", "pip", "pipx", "uvx")]  # from a wheel
    commands = {words[1] for words in packaged if words[0] == "agent-gateway" and not words[1].startswith("-")}
    assert {"doctor"} <= commands <= set(get_commands())
    lines = [words for words in lines if words not in packaged]
    programs = [words[2] if words[:2] == ["python", "manage.py"] else words[0] for words in lines]
    assert set(programs) <= {*get_commands(), *processes.SERVERS}
    assert len(set(programs)) == len(programs) > 4
