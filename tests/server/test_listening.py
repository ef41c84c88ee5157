"""Where ``serve`` listens: on addresses of its own, and on sockets that were opened before, as systemd opens them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clients import V1, SocketClient
from tests.processes import KEY, ROOT, Process
from tests.server.conftest import ARGUMENTS, until, without_files

HELLO = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"


class SharingGateway(Process):
    """``serve`` on a socket that it was given."""

    def __init__(self, listener: socket.socket) -> None:
        number = listener.fileno()
        settings = {"GATEWAY__INTERNAL_API_KEY": KEY, "GATEWAY__LOG_LEVEL": "INFO", "GATEWAY__VERSION": "by-socket"}
        super().__init__(["manage.py", "serve", "--fd", str(number)], fds=(number,), **settings)

    def _answers(self) -> bool:
        return "listening on" in self.output()


@contextmanager
def listening(family: socket.AddressFamily, folder: Path) -> Iterator[socket.socket]:
    address = {
        socket.AF_INET: ("127.0.0.1", 0),
        socket.AF_INET6: ("::1", 0),
        socket.AF_UNIX: str(folder / "gateway.sock"),
    }[family]
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen(512)
        yield listener


async def ask(listener: socket.socket) -> bytes:
    """Connect, ask for the health, and give the body of the answer."""
    with socket.socket(listener.family) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):  # as long as a process may take to end, and the next one to begin
            await loop.sock_connect(client, listener.getsockname())
            await loop.sock_sendall(client, HELLO)
            answer = b""
            while not answer.endswith(b"}"):
                answer += (received := await loop.sock_recv(client, 65_536))
                assert received, answer
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
async def test_socket_of_any_family_is_served_and_left_as_it_was(family, tmp_path):
    with listening(family, tmp_path) as listener:
        for _ in range(2):  # one process after another
            with SharingGateway(listener) as gateway:
                assert json.loads(await ask(listener))["version"] == "by-socket"
                assert gateway.stop() == 0
                assert "Traceback" not in gateway.output()
                is_warned = "clients on a Unix socket have no address" in gateway.output()
                assert is_warned == (family is socket.AF_UNIX)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
async def test_restart_on_a_shared_socket_loses_no_connection(family, tmp_path):
    """Connections that come all the time are all answered, by the old process, or by the new one."""
    answered = 0

    async def keep_asking() -> None:
        nonlocal answered
        while not is_over:
            await ask(listener)
            answered += 1

    is_over = False
    with listening(family, tmp_path) as listener, SharingGateway(listener) as gateway:
        asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
        for _ in range(2):
            before = answered
            await until(lambda seen=before: answered > seen + 20, limit_seconds=60)
            gateway.signal(signal.SIGTERM)
            assert await asyncio.to_thread(gateway.wait) == 0
            await asyncio.to_thread(gateway.start)
        is_over = True
        await asyncio.gather(*asking)


async def test_two_processes_share_a_socket_and_each_gets_its_part(tmp_path):
    with (
        listening(socket.AF_UNIX, tmp_path) as listener,
        SharingGateway(listener) as first,
        SharingGateway(listener) as second,
    ):
        while any("/health 200" not in gateway.output() for gateway in (first, second)):
            await asyncio.gather(*(ask(listener) for _ in range(20)))


async def test_clients_that_leave_early_and_files_that_run_out_are_taken_calmly(tmp_path):
    with listening(socket.AF_INET, tmp_path) as listener, SharingGateway(listener) as gateway:
        address = listener.getsockname()
        gateway.signal(signal.SIGSTOP)
        for _ in range(3):
            with socket.create_connection(address) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not ended
        gateway.signal(signal.SIGCONT)
        await ask(listener)
        async with without_files(gateway, address):
            pass
        await ask(listener)
        assert "Traceback" not in gateway.output()


@pytest.fixture
def draining(scripted_agent: Process) -> Iterator[Process]:
    """A gateway that is stopping, and waits for an answer."""
    with Process(
        ["manage.py", "serve", "--port", "{port}"],
        GATEWAY__AGENT_URL=scripted_agent.http_url,
        GATEWAY__INTERNAL_API_KEY=KEY,
    ) as gateway:
        yield gateway


async def test_connection_is_not_kept_alive_while_stopping(draining):
    """Else the next request on it would be lost when the process ends."""
    async with SocketClient(f"{draining.ws_url}/ws/s/", [V1]) as client:
        await client.say("script:tokens 1000 delay=0.05")
        await client.frame_of("assistant_message")
        _, silent = await asyncio.open_connection("127.0.0.1", draining.port)  # says nothing, and is not waited for
        reader, writer = await asyncio.open_connection("127.0.0.1", draining.port)
        writer.write(HELLO)
        assert b"close" not in (await reader.readuntil(b"\r\n\r\n")).lower()
        draining.signal(signal.SIGTERM)
        await until(lambda: "stopping" in draining.output())
        writer.write(HELLO)
        async with asyncio.timeout(60):
            answer = await reader.read()
        assert b"Connection: close" in answer
        assert answer.endswith(b"}")
        writer.close()
        await client.cancel()
        assert await client.close_code() == 1012
    assert await asyncio.to_thread(draining.wait) == 0
    silent.close()


async def test_client_that_has_just_connected_is_answered_before_the_end():
    with Process([*ARGUMENTS, "FIRST_REQUEST_SECONDS=20", "CLOSE_SECONDS=20"]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        server.signal(signal.SIGTERM)
        await until(lambda: is_refused(server.port))
        writer.write(b"GET /scope HTTP/1.1\r\nHost: test\r\n\r\n")
        async with asyncio.timeout(60):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n0\r\n\r\n")  # to its last chunk
        assert await asyncio.to_thread(server.wait) == 0
        writer.close()


def is_refused(port: int) -> bool:
    """Does nobody listen there any more?"""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def refusal(*options: str, fds: tuple[int, ...] = ()) -> str:
    """What ``serve`` says as it ends without having served."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY__")}
    ended = subprocess.run(
        [sys.executable, "manage.py", "serve", *options],
        cwd=ROOT,
        env=environment,
        pass_fds=fds,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr


def test_number_that_is_no_listening_socket_is_named(tmp_path):
    with (tmp_path / "file").open("w") as file, socket.socket() as silent:
        fds = (file.fileno(), silent.fileno())
        assert f"no open socket with the number {fds[0]}" in refusal("--fd", str(fds[0]), fds=fds)
        assert f"{fds[1]} does not listen" in refusal("--fd", str(fds[1]), fds=fds)


def test_address_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}" in (words := refusal("--port", port))
        assert "in use" in words
