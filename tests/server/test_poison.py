"""What ends stock daphne's watchdog, or leaves a socket behind: here the process goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import http.client
import socket
import struct

import pytest
from websockets.exceptions import InvalidStatus

from tests.clients import SocketClient
from tests.processes import Process
from tests.server.conftest import ARGUMENTS, open_files, short, state, until, without_files
from tests.server.raw import CLOSE, TEXT, RawSocket, encoded, resident_bytes


def get(service, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


async def stream_fails(service) -> None:
    with pytest.raises(http.client.IncompleteRead):
        get(service, "/fail/late")


async def response_fails(service) -> None:
    assert get(service, "/fail/early")[0] == 500


async def nothing_is_answered(service) -> None:
    assert get(service, "/leave")[0] == 500


async def unknown_subprotocol(service) -> None:
    for offered in (["even"], ["od%64"], None):
        with pytest.raises(InvalidStatus):
            async with SocketClient(f"{service.ws_url}/subprotocol/odd", offered):
                pass


async def consumer_raises(service) -> None:
    for when in ("early", "late"):
        async with RawSocket(service.port, f"/fail/{when}") as client:
            await client.send(TEXT, b"go")
            await over(client)


async def consumer_returns(service) -> None:
    for when in ("early", "late"):
        async with RawSocket(service.port, f"/leave/{when}") as client:
            await over(client)


async def consumer_hangs(service) -> None:
    for path in ("/hang/early", "/hang/late", "/hang/late/2"):
        async with RawSocket(service.port, path):
            pass


async def request_hangs(service) -> None:
    async with RawSocket(service.port, "/echo") as client:
        client.writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("GET", "/hang")
    connection.close()


async def files_run_out(service) -> None:
    async with without_files(service, ("127.0.0.1", service.port)):
        pass


async def clients_reset(service) -> None:
    """A reset that comes with a message: the answer is written to a line that the event loop has let go of."""
    said_before = service.output()
    async with RawSocket(service.port, "/echo") as bystander:
        for _ in range(50):
            clients = [RawSocket(service.port, "/echo") for _ in range(4)]
            await asyncio.gather(*(client.__aenter__() for client in clients))
            for client in clients:
                client.writer.write(encoded(TEXT, b"a") + encoded(TEXT, b"b"))
                client.reset()
            await bystander.send(TEXT, b"still here?")
            assert (await bystander.answer()).payload == b"still here?"
    assert "Traceback" not in service.output().removeprefix(said_before)


async def over(client: RawSocket) -> None:
    """Wait for the close frame, or for the end of a refused handshake."""
    if client.status == 101:
        assert (await client.answer()).opcode == CLOSE
    else:
        assert await client.ended() == b""


POISONS = [
    stream_fails,
    response_fails,
    nothing_is_answered,
    unknown_subprotocol,
    consumer_raises,
    consumer_returns,
    consumer_hangs,
    request_hangs,
    clients_reset,
    files_run_out,
]


@short(ACCEPT_SECONDS=1, ENDING_SECONDS=0.5)
@pytest.mark.parametrize("poison", POISONS)
async def test_after_a_poison_watchdog_and_cleanup_go_on(impatient, poison):
    await poison(impatient)
    await until(lambda: state(impatient)["connections"] == 1)  # that of the question
    async with RawSocket(impatient.port, "/hang/late") as client:  # only the watchdog ends it
        assert client.status == 101
    await until(lambda: state(impatient)["sockets"] == 0)


async def test_request_that_is_reset_in_its_midst_is_let_go_of_before_its_time_is_up():
    """The event loop tells of the reset once, and Twisted then reads what had come before."""
    with Process([*ARGUMENTS, "HEAD_SECONDS=600"]) as service:
        await until(lambda: state(service)["connections"] == 1)  # that of the question
        before = open_files(service)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", service.port)) as client:
                client.sendall(b"GET /health HT")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await until(lambda: open_files(service) <= before)


@short(HUNG_SECONDS=1, ENDING_SECONDS=0.5)
async def test_consumer_that_takes_no_message_any_more_is_closed(impatient):
    async with RawSocket(impatient.port, "/hang/late") as client:
        await client.send(TEXT, b"x" * 100_000)
        assert (await client.answer()).close[0] == 1011
    await until(lambda: state(impatient)["sockets"] == 0)


async def test_a_thousand_sockets_leave_nothing_behind(service):
    async def visit() -> None:
        async with SocketClient(f"{service.ws_url}/echo") as client:
            await client.send_text("hello")
            assert await client.text() == "hello"

    for _ in range(300):
        await visit()
    before = resident_bytes(service.pid)
    for _ in range(700):
        await visit()
    await until(lambda: state(service)["connections"] == 1)
    assert resident_bytes(service.pid) - before < 2**20
