"""The tests' own TCP server leaves nothing open, whatever its connections were about."""

import asyncio
import contextlib
import gc
import socket

import pytest

from tests.certificates import certificate
from tests.clients import LIMIT_SECONDS
from tests.tcp_server import TcpServer


async def wait_for_ever(reader, writer):
    await asyncio.Event().wait()


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "in a handshake"])
async def test_connection_that_is_open_when_the_server_ends_is_aborted(tmp_path, is_tls):
    tls = certificate(tmp_path / "shown.pem") if is_tls else None
    with socket.socket() as client:
        client.settimeout(LIMIT_SECONDS)
        async with TcpServer(wait_for_ever, tls=tls) as server:
            await asyncio.to_thread(client.connect, ("127.0.0.1", server.port))
            async with asyncio.timeout(LIMIT_SECONDS):
                while not server._tasks:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert client.recv(1) == b""
    gc.collect()  # what is left open says so


@pytest.mark.parametrize("iterations", range(5), ids="{} iterations".format)
async def test_connection_that_comes_as_the_server_ends_is_closed(iterations):
    with socket.socket() as client:
        client.settimeout(LIMIT_SECONDS)
        async with TcpServer(wait_for_ever) as server:
            await asyncio.sleep(0)  # it waits for a connection now, however it does that
            client.connect(("127.0.0.1", server.port))  # the kernel does that by itself
            for _ in range(iterations):
                await asyncio.sleep(0)
        with contextlib.suppress(ConnectionResetError):  # it has not been taken
            assert client.recv(1) == b""
    gc.collect()


async def test_connections_are_refused_and_taken_again_on_the_same_port():
    async with TcpServer() as server:
        server.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
        server.listen()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_connection_is_closed_where_nothing_is_served(tmp_path):
    async with TcpServer(tls=certificate(tmp_path / "shown.pem")) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"not a handshake\r\n\r\n")
        async with asyncio.timeout(LIMIT_SECONDS):
            await asyncio.gather(reader.read(), return_exceptions=True)
            while server._tasks:
                await asyncio.sleep(0)
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_connection_that_is_left_open_by_what_served_it_is_closed():
    async with TcpServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    gc.collect()
