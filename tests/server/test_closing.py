"""Ends of sockets: codes, reasons, and what is refused at the handshake."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from tests.clients import SocketClient
from tests.server.conftest import release, short, state, until
from tests.server.raw import CLOSE, TEXT, RawSocket, encoded, handshake

CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4000, 4401, 4403, 4508, 4999]


def open_socket(service, path: str, **options) -> SocketClient:
    return SocketClient(service.ws_url + path, **options)


@pytest.mark.parametrize("code", CODES)
async def test_close_code_and_reason_reach_the_client(service, code):
    async with open_socket(service, f"/close/{code}/because") as client:
        assert await client.close_code() == code
        assert client.connection.close_reason == "because"


@pytest.mark.parametrize(("reason", "kept"), [("x" * 123, "x" * 123), ("x" * 124, "x" * 123), ("ü" * 70, "ü" * 61)])
async def test_reason_is_cut_at_123_bytes_between_characters(service, reason, kept):
    async with open_socket(service, f"/close/4000/{reason}") as client:
        await client.close_code()
        assert client.connection.close_reason == kept


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 5000])
async def test_code_that_may_not_be_sent_is_the_applications_failure(service, code):
    async with open_socket(service, f"/close/{code}") as client:
        assert await client.close_code() == 1011


@pytest.mark.parametrize("code", [1000, 1001, 1012, 4321])
async def test_clients_close_is_answered_with_its_code(service, code):
    async with RawSocket(service.port, "/echo") as client:
        await client.send(CLOSE, code.to_bytes(2) + b"bye")
        assert (await client.frame()).close == (code, "bye")
        assert await client.ended() == b""
    await until(lambda: state(service)["last_code"] == code)


async def test_close_without_a_code_is_answered_and_is_1005_to_the_application(service):
    async with RawSocket(service.port, "/echo") as client:
        await client.send(CLOSE)
        frame = await client.frame()
        assert (frame.opcode, frame.payload) == (CLOSE, b"")
    await until(lambda: state(service)["last_code"] == 1005)


async def test_lost_line_is_1006_to_the_application(service):
    async with RawSocket(service.port, "/echo"):
        pass
    await until(lambda: state(service)["last_code"] == 1006)


async def test_nothing_after_a_close_frame_is_heeded(service):
    async with RawSocket(service.port, "/echo") as client:
        await client.send_bytes(encoded(CLOSE, b"\x03\xe8") + encoded(TEXT, b"late"))
        assert (await client.frame()).close == (1000, "")
        assert await client.ended() == b""


@short(CLOSE_SECONDS=1)
async def test_client_that_leaves_a_close_without_answer_is_let_go(impatient):
    async with RawSocket(impatient.port, "/close/4000") as client:
        assert (await client.answer()).close == (4000, "")
        assert await client.ended() == b""
    await until(lambda: state(impatient)["sockets"] == 0)


async def test_empty_messages_are_delivered(service):
    async with open_socket(service, "/nothing") as client:
        assert await client.connection.recv() == ""
        assert await client.connection.recv() == b""
    async with open_socket(service, "/echo") as client:
        for empty in ("", b""):
            await client.connection.send(empty)
            assert await client.connection.recv() == empty


async def test_headers_of_the_acceptance_are_sent(service):
    async with open_socket(service, "/headers") as client:
        headers = client.connection.response.headers
        assert headers["x-first"] == "1"
        assert headers.get_all("x-second") == ["2", "3"]


@pytest.mark.parametrize(
    ("path", "status"), [("/refuse", 403), ("/fail/early", 500), ("/leave/early", 500), ("/subprotocol/odd", 500)]
)
async def test_refused_handshake_has_a_status(service, path, status):
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(service, path, subprotocols=["even"]):
            pass
    assert refused.value.response.status_code == status


@short(ACCEPT_SECONDS=1, ENDING_SECONDS=0.5)
async def test_handshake_that_is_not_answered_is_refused(impatient):
    async with RawSocket(impatient.port, "/hang/early") as client:
        assert client.status == 503
    await until(lambda: state(impatient)["sockets"] == 0)


async def test_what_comes_before_the_handshake_is_answered_waits(service):
    """A second handshake would start a second application, and leave the first one running for ever."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(handshake("/late"))
        await until(lambda: state(service)["sockets"] == 1)
        writer.write(handshake("/close/4000"))
        await until(lambda: state(service)["sockets"] == 1)  # so it was there in time to be read
        await asyncio.to_thread(release, service)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert (await reader.read())[2:4] == (1002).to_bytes(2)  # as frames it makes no sense
        writer.transport.abort()
    await until(lambda: state(service)["connections"] == 1)  # that of the question


@pytest.mark.parametrize(
    "header",
    ["Sec-WebSocket-Version: 12", "Sec-WebSocket-Key: short", "Sec-WebSocket-Protocol: a, a"],
)
async def test_handshake_against_the_rules_is_400_and_leaves_nothing_behind(service, header):
    async with RawSocket(service.port, "/echo", headers=header + "\r\n") as client:
        assert client.status == 400
    await until(lambda: state(service)["sockets"] == 0)
    assert "Traceback" not in service.output().partition(header)[2]


async def test_subprotocols_are_those_of_the_client_byte_for_byte(service):
    async with open_socket(service, "/subprotocol/b", subprotocols=["a", "b", "c%2Ed"]) as client:
        assert json.loads(await client.text()) == ["a", "b", "c%2Ed"]
        assert client.connection.subprotocol == "b"


@pytest.mark.parametrize(("path", "code"), [("/fail/late", 1011), ("/leave/late", 1000)])
async def test_socket_whose_application_ended_is_closed(service, path, code):
    async with open_socket(service, path) as client:
        if path.startswith("/fail"):
            await client.send_text("go")
        assert await client.close_code() == code
    await until(lambda: state(service)["sockets"] == 0)
