"""The HTTP transport to the agent, against a raw TCP server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.upstream import READ, UpstreamTransport

LIMIT_SECONDS = 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def certificate(path: Path) -> ssl.SSLContext:
    """Write a certificate for ``localhost`` that vouches for itself, and give what a server needs to show it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    unsigned = unsigned.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = unsigned.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    shown = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(signed.public_bytes(encoding) + shown)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


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

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    address = "http://127.0.0.1" if tls is None else "https://localhost"
    async with server:
        yield f"{address}:{server.sockets[0].getsockname()[1]}/path?query=1", asked, finished


async def body_at(url: str) -> bytes:
    async with httpx.AsyncClient(transport=UpstreamTransport(), timeout=LIMIT_SECONDS) as client:
        response = await client.post(url, content=b"body", headers={"Connection": "close"})
        return response.content


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
async def test_body_arrives_whole_however_it_is_framed(parts):
    async with answering(*parts) as (url, asked, _):
        assert await body_at(url) == b"abcdef"
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
    async with (
        answering(part) as (url, _, _),
        httpx.AsyncClient(transport=UpstreamTransport(), timeout=LIMIT_SECONDS) as client,
        client.stream("POST", url, content=b"body") as response,
        asyncio.timeout(LIMIT_SECONDS),
    ):
        read = response.extensions[READ]
        assert await read(10) == b"abc"
        with pytest.raises(httpx.RemoteProtocolError):
            await read(10)


async def test_refused_connection_raises_connect_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        with pytest.raises(httpx.ConnectError):
            await body_at(f"http://127.0.0.1:{taken.getsockname()[1]}/path")


async def test_body_that_nobody_reads_is_left_to_the_agent():
    """The transport holds a bounded part; the rest waits in the agent's socket, and arrives when it is read."""
    content = b"x" * 20_000_000
    async with (
        answering(HEAD + b"\r\n", content) as (url, _, finished),
        httpx.AsyncClient(transport=UpstreamTransport(), timeout=LIMIT_SECONDS) as client,
        client.stream("POST", url, content=b"body") as response,
        asyncio.timeout(LIMIT_SECONDS),
    ):
        read = response.extensions[READ]
        received = len(await read(1_000))
        assert received == 1_000
        assert not finished.is_set()
        while data := await read(100_000):
            received += len(data)
        assert received == len(content)


async def test_closing_a_response_hangs_up():
    async with (
        answering(HEAD + b"\r\nabc", hangs_up=False) as (url, _, finished),
        httpx.AsyncClient(transport=UpstreamTransport(), timeout=LIMIT_SECONDS) as client,
        asyncio.timeout(LIMIT_SECONDS),
    ):
        async with client.stream("POST", url, content=b"body") as response:
            assert await response.extensions[READ](100) == b"abc"
        await finished.wait()


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
