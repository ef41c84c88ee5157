"""The HTTP transport to the agent, against a raw TCP server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading

import httpx
import pytest
import uvloop

from relay.agent.http_body import ChunkedBody
from relay.agent.http_request import HttpRequest, target_of
from relay.agent.portions import DENSE_PORTION_BYTES
from relay.agent.tls import NO_CLIENT_CERT, NO_HANDSHAKE, NO_TLS, TlsFailed
from relay.agent.transport import MAX_INTERIM_RESPONSES, UpstreamTransport
from tests.certificates import certificate
from tests.tcp_server import TcpServer

LIMIT_SECONDS = 60
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


@contextlib.asynccontextmanager
async def answering(*parts: bytes, hangs_up: bool = True, tls: ssl.SSLContext | None = None):
    """Serve one answer; gives its address and what was asked."""
    asked = bytearray()
    finished = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await reader.readuntil(b"\r\n\r\n"))
        asked.extend(await reader.readexactly(4))
        for part in parts:
            writer.write(part)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        if not hangs_up:
            await reader.read()
        writer.close()
        finished.set()
        await writer.wait_closed()

    async with TcpServer(answer, tls=tls) as server:
        yield f"{server.url.replace('127.0.0.1', 'localhost') if tls else server.url}/path?query=1", asked, finished


@contextlib.asynccontextmanager
async def exchange_with(url: str, on_interim=None):
    """Send a request; gives the exchange, closed at the end."""
    request = HttpRequest("POST", url, content=b"body")
    async with asyncio.timeout(LIMIT_SECONDS):
        exchange = await UpstreamTransport().send(request, on_interim)
        try:
            yield exchange
        finally:
            exchange.close()


async def body_at(url: str, on_interim=None, *, is_ready=True) -> bytes:
    """Read a body with a sink that is always, or never, ready for more."""
    body = bytearray()

    def push(data: bytes) -> bool:
        body.extend(data)
        return is_ready

    async with exchange_with(url, on_interim) as exchange:
        while await exchange.pump(push):
            pass
    return bytes(body)


@pytest.mark.parametrize(
    "parts",
    [
        (HEAD + b"Content-Length: 6\r\n\r\nabcdef",),
        (HEAD + b"Content-Length: 6\r\n\r\n", b"abc", b"def"),
        (HEAD + b"\r\nabc", b"def"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD[:9], HEAD[9:] + b"Content-Length: 6\r\n\r\nabcdef"),
    ],
    ids=["sized", "sized-in-parts", "endless", "chunked", "after-100"],
)
@pytest.mark.parametrize("is_ready", [True, False])
async def test_body_arrives_whole_however_it_is_framed(parts, is_ready):
    async with answering(*parts) as (url, asked, _):
        assert await body_at(url, is_ready=is_ready) == b"abcdef"
    assert asked.startswith(b"POST /path?query=1 HTTP/1.1\r\n")
    assert b"\r\nconnection: close\r\n" in asked.lower()
    assert asked.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (b"", httpx.ReadError),
        (HEAD, httpx.ReadError),
        (HEAD + b"Content-Length: 9\r\n\r\nabc", httpx.ReadError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", httpx.ReadError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n", httpx.RemoteProtocolError),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", httpx.RemoteProtocolError),
        (b"220 mail.example.org ESMTP\r\n", httpx.RemoteProtocolError),
        (HEAD + b"X: y\r\n" * 20_000, httpx.RemoteProtocolError),
    ],
    ids=["nothing", "head", "sized", "chunked", "no-chunk", "coding", "no-http", "endless-head"],
)
async def test_answer_that_breaks_off_or_is_none_raises(part, error):
    async with answering(part) as (url, _, _), asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(error):
            await body_at(url)


async def test_what_came_before_a_broken_chunk_is_given_first():
    part = HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno size\r\n"
    pushed = []
    async with answering(part) as (url, _, _), exchange_with(url) as exchange:
        assert await exchange.pump(pushed.append) == 3
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange.pump(pushed.append)
    assert pushed == [b"abc"]


async def test_chunks_of_one_byte_are_decoded_in_many_iterations_and_arrive_whole(monkeypatch):
    """Counted are the chunks that are decoded in one call, not the time that they take."""
    decoded = []
    feed = ChunkedBody.feed

    def count(body: ChunkedBody, data: bytes) -> bytes:
        content = feed(body, data)
        decoded.append(len(content))
        return content

    monkeypatch.setattr(ChunkedBody, "feed", count)
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    async with answering(head + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n") as (url, _, _):
        assert await body_at(url) == b"x" * 100_000
    assert sum(decoded) == 100_000
    assert max(decoded) <= DENSE_PORTION_BYTES // 6 + 1


async def test_refused_connection_raises_connect_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(httpx.ConnectError):
            await body_at(f"http://127.0.0.1:{taken.getsockname()[1]}/path")


async def test_body_that_no_sink_receives_is_left_to_the_agent():
    """The transport holds a bounded part; the rest waits in the agent's socket, and arrives when a sink is there."""
    content = b"x" * 20_000_000
    async with answering(HEAD + b"\r\n", content) as (url, _, finished), exchange_with(url) as exchange:
        received = await exchange.pump(lambda data: False)
        assert not finished.is_set()
        while size := await exchange.pump(lambda data: False):
            received += size
        assert received == len(content)


async def test_nothing_is_pushed_to_a_sink_that_is_not_ready_until_the_next_pump():
    more, pushed = asyncio.Event(), []

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\nbody")
        writer.write(HEAD + b"\r\n")
        for text in (b"a", b"b"):
            await more.wait()
            more.clear()
            writer.write(text)
        writer.close()
        await writer.wait_closed()

    async with TcpServer(answer) as server, exchange_with(f"{server.url}/") as exchange:
        more.set()
        assert await exchange.pump(pushed.append) == 1  # ``None``: not ready
        more.set()
        assert await exchange.pump(lambda data: not pushed.append(data)) == 0
    assert b"".join(pushed) == b"ab"


async def test_closing_an_exchange_hangs_up():
    async with answering(HEAD + b"\r\nabc", hangs_up=False) as (url, _, finished), asyncio.timeout(LIMIT_SECONDS):
        async with exchange_with(url) as exchange:
            assert await exchange.pump(lambda data: False)
        await finished.wait()


async def test_credentials_in_the_address_are_sent():
    async with answering(HEAD + b"\r\nabc") as (url, asked, _):
        await body_at(url.replace("127.0.0.1", "name:word@127.0.0.1"))
    assert b"\r\nauthorization: basic bmftztp3b3jk\r\n" in asked.lower()


async def test_agent_behind_https_is_asked_if_its_certificate_is_trusted(tmp_path, monkeypatch):
    tls = certificate(tmp_path / "localhost.pem")
    async with answering(HEAD + b"Content-Length: 3\r\n\r\nabc", tls=tls) as (url, asked, _):
        with pytest.raises(httpx.ConnectError):
            await body_at(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "localhost.pem"))
        with pytest.raises(httpx.ConnectError):  # the name counts, too
            await body_at(url.replace("localhost", "127.0.0.1"))
        assert asked == b""
        assert await body_at(url) == b"abc"


async def test_an_authority_of_ones_own_is_trusted_beside_the_systems(tmp_path, settings):
    tls = certificate(tmp_path / "localhost.pem")
    async with answering(HEAD + b"Content-Length: 3\r\n\r\nabc", tls=tls) as (url, *_):
        settings.GATEWAY = {**settings.GATEWAY, "AGENT_CA": (tmp_path / "localhost.pem").read_text()}
        assert await body_at(url) == b"abc"


@contextlib.contextmanager
def blocking_server(tls: ssl.SSLContext):
    """A server that says why it refuses a handshake, as most do; asyncio's only hangs up. Gives its address."""

    def serve(listening):
        accepted = listening.accept()[0]
        with tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as connection:
            try:
                connection.do_handshake()
            except ssl.SSLError:
                while os.read(connection.fileno(), 65_536):  # with bytes unread, closing would overtake the reason
                    pass
            else:
                connection.recv(65_536)
                connection.sendall(HEAD + b"Content-Length: 3\r\n\r\nabc")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=[listening])
        thread.start()
        yield f"https://localhost:{listening.getsockname()[1]}/path"
        thread.join()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("shown", ["trusted", "unknown", None])
def test_an_agent_that_asks_for_a_certificate_is_shown_one(tmp_path, settings, new_loop, shown):
    tls = certificate(tmp_path / "agent")
    for name in ("trusted", "unknown"):
        certificate(tmp_path / name)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(tmp_path / "trusted")
    own = {"AGENT_CLIENT_CERT": str(tmp_path / shown)} if shown else {}
    settings.GATEWAY = {**settings.GATEWAY, "AGENT_CA": (tmp_path / "agent").read_text(), **own}
    with blocking_server(tls) as url, asyncio.Runner(loop_factory=new_loop) as runner:
        if shown == "trusted":
            assert runner.run(body_at(url)) == b"abc"
        else:
            with pytest.raises(TlsFailed, match=NO_CLIENT_CERT):
                runner.run(body_at(url))


TLS_CAUSES = {
    "expired": ({"days": (-2, -1)}, True, "has expired"),
    "not yet valid": ({"days": (1, 2)}, True, "is not valid yet"),
    "another host": ({"name": "other.example"}, True, "is for another host"),
    "unknown authority": ({}, False, "is not trusted here"),
}


@pytest.mark.parametrize(("made", "is_trusted", "words"), TLS_CAUSES.values(), ids=TLS_CAUSES)
async def test_certificate_that_will_not_do_is_named(tmp_path, monkeypatch, made, is_trusted, words):
    tls = certificate(tmp_path / "shown.pem", **made)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "shown.pem"))
    async with answering(tls=tls) as (url, asked, _):
        with pytest.raises(TlsFailed, match=words) as caught:
            await body_at(url)
        with pytest.raises(TlsFailed, match=words):
            await UpstreamTransport().reach(target_of(url))
    assert asked == b""
    assert "localhost" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", NO_TLS),
        (b"\x15\x03\x03\x00\x02\x02\x28", "the TLS handshake fails (OpenSSL: "),
    ],
    ids=["plain", "alert"],
)
async def test_server_that_refuses_a_handshake_is_named(said, words):
    async def refuse(reader, writer):
        await reader.read(65_536)
        writer.write(said)
        writer.close()
        await writer.wait_closed()

    async with TcpServer(refuse) as server:
        with pytest.raises(TlsFailed) as caught:
            await body_at(f"https://localhost:{server.port}/path")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_server_that_does_not_answer_a_handshake_is_named(new_loop):
    async def reach():
        left = asyncio.Event()

        async def listen(reader, writer):
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            left.set()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            try:
                await UpstreamTransport(handshake_seconds=0.2).reach(target_of(f"https://localhost:{port}"))
            finally:
                await left.wait()

    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(TlsFailed) as caught:
        runner.run(asyncio.wait_for(reach(), LIMIT_SECONDS))
    assert str(caught.value) == NO_HANDSHAKE


async def test_refused_connection_is_no_failure_of_tls():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(httpx.ConnectError) as caught:
            await body_at(f"https://localhost:{taken.getsockname()[1]}/path")
    assert not isinstance(caught.value, TlsFailed)


PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


async def test_interim_responses_are_signs_of_life():
    parts = (PROCESSING, PROCESSING[:9], PROCESSING[9:] + HINTS + HEAD + b"Content-Length: 3\r\n\r\nabc")
    heard = []
    async with answering(*parts) as (url, _, _):
        assert await body_at(url, lambda: heard.append(1)) == b"abc"
    assert len(heard) == 3


@pytest.mark.parametrize(
    ("number", "error"), [(MAX_INTERIM_RESPONSES, httpx.ReadError), (10_000, httpx.RemoteProtocolError)]
)
async def test_interim_responses_are_bounded(number, error):
    async with answering(PROCESSING * number) as (url, _, _), asyncio.timeout(LIMIT_SECONDS):
        with pytest.raises(error):
            await body_at(url)
