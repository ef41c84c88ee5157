"""The event loop of the tests ends what a test has left open, and says so."""

import asyncio
import gc
import socket
import ssl
import warnings
from contextlib import nullcontext

import pytest

from tests.event_loop import LeftOpen, TestLoop
from tests.faults.certificates import Authority


@pytest.fixture
def ends():
    """Both ends of a connection."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def run(coroutine):
    with asyncio.Runner(loop_factory=TestLoop) as runner:
        return runner.run(coroutine)


def test_connection_that_was_left_open_is_ended_and_told(ends):
    left = []

    async def leave_open():
        left.append(await asyncio.open_connection(sock=ends[0]))

    with pytest.raises(LeftOpen, match="Close these before the test ends: <_SelectorSocketTransport"):
        run(leave_open())
    assert ends[1].recv(1) == b""


def test_listening_socket_that_was_left_open_is_told():
    servers = []

    async def listen():
        servers.append(await asyncio.start_server(print, "127.0.0.1", 0))

    with pytest.raises(LeftOpen, match=r"<Handle .*_accept_connection"):
        run(listen())
    servers[0].sockets[0]._sock.close()


def test_connection_whose_rest_nobody_reads_is_ended_without_a_word(ends):
    async def close_with_a_rest():
        _, writer = await asyncio.open_connection(sock=ends[0])
        writer.write(b"x" * 10_000_000)
        writer.close()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(close_with_a_rest())
        gc.collect()
    assert caught == []
    assert ends[0].fileno() == -1


def test_closed_connection_is_no_matter(ends):
    async def talk():
        _, writer = await asyncio.open_connection(sock=ends[0])
        writer.write(b"x")
        writer.close()
        await writer.wait_closed()

    run(talk())
    assert ends[1].recv(2) == b"x"


@pytest.fixture
def with_tls(tmp_path):
    authority = Authority(tmp_path)
    return authority.context("127.0.0.1"), ssl.create_default_context(cafile=authority.path)


@pytest.mark.parametrize("end", ["left open", "closed", "in the handshake"])
def test_connection_with_tls_that_the_test_could_not_close_is_no_matter(ends, with_tls, end):
    """Its own transport closes after that of TLS; and before the handshake has ended there is none to close."""
    left = []

    async def talk():
        connecting = asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ends[0], ssl=with_tls[0])
        accepting = asyncio.create_task(connecting)
        if end == "in the handshake":
            await asyncio.sleep(0)
            return
        _, writer = await asyncio.open_connection(sock=ends[1], ssl=with_tls[1], server_hostname="127.0.0.1")
        transport, _ = await accepting
        left.extend([transport, writer])
        if end == "closed":
            transport.close()
            writer.close()

    with pytest.raises(LeftOpen) if end == "left open" else nullcontext():
        run(talk())
    assert ends[0].fileno() == -1
