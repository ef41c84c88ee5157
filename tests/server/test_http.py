"""HTTP under the gateway's server: limits of time and size, the proxy's word, and the access log."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.processes import Process
from tests.server import raw
from tests.server.conftest import ARGUMENTS, short, state, until
from tests.server.raw import LIMIT_SECONDS, RawSocket, resident_bytes

HEAD = b"POST /body HTTP/1.1\r\nHost: test\r\n"
MEGABYTE = 2**20


async def exchange(service: Process, *parts: bytes) -> bytes:
    """Send the parts, and read until the server ends the connection."""
    return await raw.exchange(service.port, *parts)


async def drip(service: Process, head: bytes) -> bytes:
    """Send a byte now and then, for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head)
    answer = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(60):
            while not answer.done():
                writer.write(b"x")
                await asyncio.wait([answer], timeout=0.1)
        return answer.result()
    finally:
        writer.transport.abort()


@short(HEAD_SECONDS=1, BODY_SECONDS=1)
@pytest.mark.parametrize("head", [b"GET /scope HTTP/1.1\r\nX: ", HEAD + b"Content-Length: 1000\r\n\r\n"])
async def test_request_that_comes_byte_by_byte_is_ended(impatient, head):
    assert (await drip(impatient, head)).startswith(b"HTTP/1.1 408 ")


async def test_body_at_the_limit_is_taken_and_one_above_is_413(service):
    end = b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    taken = await exchange(service, HEAD + end % MEGABYTE, bytes(MEGABYTE))
    assert b'{"bytes": %d}' % MEGABYTE in taken
    assert (await exchange(service, HEAD + end % (MEGABYTE + 1))).startswith(b"HTTP/1.1 413 ")


async def test_chunked_body_above_the_limit_is_413(service):
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    answer = await exchange(service, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 17)
    assert answer.startswith(b"HTTP/1.1 413 ")
    await until(lambda: state(service)["connections"] == 1)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /scope HTTP/1.1\r\nHost: test\r\n\r\n"
LONG = HEAD + b"Content-Length: %d\r\n\r\n" % (MEGABYTE + 1)
MIDST = b"%x\r\n" % (MEGABYTE + 1) + bytes(MEGABYTE)
REFUSED = {  # what is sent, and the status; what comes after it is never answered
    "body too large, with its first byte": (LONG + b"x", 413),
    "body too large, whole": (LONG + bytes(MEGABYTE + 1) + NEXT, 413),
    "length without bounds": (HEAD + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\nx", 413),
    "chunked body too large, whole": (CHUNKED + MIDST + b"x\r\n0\r\n\r\n" + NEXT, 413),
    "chunks too many": (CHUNKED + (b"8000\r\n" + bytes(32_768) + b"\r\n") * 33 + b"0\r\n\r\n" + NEXT, 413),
    "bad chunk size": (CHUNKED + b"5\r\nhello\r\nxyz\r\n0\r\n\r\n" + NEXT, 400),
    "bad chunk end": (CHUNKED + b"5\r\nhello0\r\n\r\n" + NEXT, 400),
    "trailers too long": (CHUNKED + b"0\r\n" + b"a:b\r\n" * 300 + b"\r\n" + NEXT, 400),
    "endless chunk size": (CHUNKED + b"0" * 2_000 + NEXT, 400),
    "transfer coding identity": (HEAD + b"Transfer-Encoding: identity\r\n\r\n" + NEXT, 400),
    "identity and a length": (HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx" + NEXT, 400),
    "a length and identity": (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: identity\r\n\r\nx" + NEXT, 400),
    "chunked twice": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked in HTTP/1.0": (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", 400),
    "header line too long": (b"GET /scope HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 17_000 + b"\r\n\r\n" + NEXT, 431),
    "header line without an end": (b"GET /scope HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 17_000, 431),
    "headers too large": (b"GET /scope HTTP/1.1\r\nHost: test\r\n" + (b"X: " + b"x" * 999 + b"\r\n") * 17 + NEXT, 431),
    "headers too many": (b"GET /scope HTTP/1.1\r\nHost: test\r\n" + b"X: y\r\n" * 500 + b"\r\n" + NEXT, 431),
    "target too long": (b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
    "header without a name": (b"GET /scope HTTP/1.1\r\nHost: test\r\n: x\r\nX: y\r\n\r\n" + NEXT, 400),
    "no request": (b"hello\r\n\r\n" + NEXT, 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\r\n\x00\xfc" + bytes(50), 400),
}


@pytest.mark.parametrize("cut", ["one piece", "head and rest", "two pieces"])
@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_is_refused_once_in_one_line(service, sent, status, cut):
    said_before = service.output()
    head = sent.index(b"\r\n\r\n") + 4 if b"\r\n\r\n" in sent else 100
    place = {"one piece": len(sent), "head and rest": head, "two pieces": head + 3}[cut]
    answer = await exchange(service, sent[:place], sent[place:])
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"\r\nConnection: close\r\n\r\n")
    assert "Traceback" not in service.output().removeprefix(said_before)


@pytest.mark.parametrize("connection", ["close, te", "te,CLOSE", "te\r\nConnection: close", "\tclose\t"])
async def test_close_in_a_list_ends_the_connection(service, connection):
    head = f"GET /scope HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n"
    assert (await exchange(service, head.encode() + NEXT)).count(b"HTTP/1.1 200 OK") == 1


async def test_head_at_its_limits_is_read(service):
    head = b"GET /scope HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
    assert b"200 OK" in await exchange(service, head + b"X: y\r\n" * 498 + b"\r\n")
    assert b"200 OK" in await exchange(service, head + b"X: " + b"y" * 16_000 + b"\r\n\r\n")


@contextmanager
def asking_for_200_megabytes(process: Process) -> Iterator[socket.socket]:
    """A client that has requested a large response, and reads nothing by itself."""
    with socket.socket() as client:
        client.settimeout(LIMIT_SECONDS)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect(("127.0.0.1", process.port))
        client.sendall(b"GET /stream/200 HTTP/1.1\r\nHost: test\r\n\r\n")
        yield client


async def test_response_that_nobody_reads_costs_little(service):
    before = resident_bytes(service.pid)
    with asking_for_200_megabytes(service):
        await until(lambda: state(service)["connections"] == 2)
        assert resident_bytes(service.pid) - before < 8 * MEGABYTE


@short(STALLED_SECONDS=1)
async def test_response_that_nobody_reads_is_ended(impatient):
    with asking_for_200_megabytes(impatient) as client:
        assert await asyncio.to_thread(client.recv, 8) == b"HTTP/1.1"
        await until(lambda: state(impatient)["connections"] == 1)  # that of the question


async def test_response_that_is_read_comes_whole(service):
    answer = await exchange(service, b"GET /stream/64 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert len(answer) > 64 * MEGABYTE
    assert answer.endswith(b"\r\n0\r\n\r\n")


async def scopes(service: Process, headers: str) -> list[dict]:
    """The scope of a request and of a socket with these headers."""
    head = f"GET /scope?a=1 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n"
    answer = await exchange(service, head.encode())
    async with RawSocket(service.port, "/scope?a=1", headers=headers) as client:
        return [
            json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1]),
            json.loads((await client.frame()).payload),
        ]


async def test_clients_word_about_itself_is_not_believed(service):
    headers = "Daphne-Root-Path: /evil\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n"
    for scope, scheme in zip(await scopes(service, headers), ("http", "ws"), strict=True):
        assert (scope["root_path"], scope["path"], scope["scheme"]) == ("", "/scope", scheme)
        assert scope["client"][0] == "127.0.0.1"
        assert scope["query"] == {"a": ["1"]}


@pytest.fixture(scope="module")
def behind_two() -> Iterator[Process]:
    with Process([*ARGUMENTS, "--proxies", "2"]) as process:
        yield process


async def test_client_is_the_entry_that_the_outermost_of_our_proxies_wrote(behind_two):
    headers = "X-Forwarded-For: 198.51.100.9, 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
    for scope, scheme in zip(await scopes(behind_two, headers), ("https", "wss"), strict=True):
        assert scope["client"] == ["192.0.2.1", 0]
        assert scope["scheme"] == scheme


@pytest.fixture(scope="module")
def behind_loopback() -> Iterator[Process]:
    """Its proxies are those at an address of this machine, and one elsewhere."""
    with Process([*ARGUMENTS, "--proxies", "127.0.0.0/8,10.0.0.1"]) as process:
        yield process


async def test_client_is_the_first_that_is_at_no_address_of_our_proxies(behind_loopback):
    headers = "X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
    for scope, scheme in zip(await scopes(behind_loopback, headers), ("https", "wss"), strict=True):
        assert scope["client"] == ["192.0.2.1", 0]
        assert scope["scheme"] == scheme
