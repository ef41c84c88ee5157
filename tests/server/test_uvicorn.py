"""Our class for uvicorn's option ``--ws``, in uvicorn, before clients that read and that do not."""

from __future__ import annotations

import asyncio
import inspect
import re
import struct
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import uvicorn
from uvicorn.protocols.websockets import websockets_sansio_impl
from websockets.asyncio.client import connect

from relay.delivery.client_writer import SEND_NOW, ClientGone
from relay.delivery.socket_writer import SocketWriter
from relay.protocol.frames import CloseCode
from relay.server.waiting import LightEvent, LightQueue
from tests.processes import ROOT
from tests.server.raw import CLOSE, PING, PONG, TEXT, RawSocket, encoded, exchange, handshake

PATH = "relay.server.uvicorn:WebSocket"
BIG = "x" * 16_384
BUFFER_BYTES = 65_536  # of a transport, above which a client is behind


class Application:
    """The end of a socket that the test has in its hands, once the socket is open."""

    def __init__(self):
        self.sockets = asyncio.Queue()
        self.refused = []

    async def __call__(self, scope, receive, send):
        if scope["type"] != "websocket":
            return
        self.scope, self.receive, self.send = scope, receive, send
        self.send_now = scope["extensions"][SEND_NOW]
        self.ended = asyncio.Event()
        assert (await receive())["type"] == "websocket.connect"
        self.refused.append(self.send_now(["too early"]))
        await send({"type": "websocket.accept"})
        self.sockets.put_nowait(self.ended)
        await self.ended.wait()

    @property
    def connection(self):
        return self.send_now.__self__

    async def text(self, text):
        await self.send({"type": "websocket.send", "text": text})


@pytest.fixture
def application():
    return Application()


@asynccontextmanager
async def serving(application, **options):
    """uvicorn in this event loop; give its port."""
    config = uvicorn.Config(application, port=0, ws=PATH, log_config=None, lifespan="off", **options)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0)
        assert not running.done()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        if hasattr(application, "ended"):
            application.ended.set()
        server.should_exit = True
        await running


@pytest.fixture
async def port(application):
    async with serving(application, ws_per_message_deflate=False) as port:
        yield port


@asynccontextmanager
async def raw(application, port, **options):
    async with RawSocket(port, "/", **options) as client:
        await application.sockets.get()
        yield client


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def texts(client, count):
    """The texts that a client gets next."""
    return [(await client.answer()).payload.decode() for _ in range(count)]


async def test_texts_are_written_in_order_whichever_way_they_are_sent(application, port):
    async with raw(application, port) as client:
        for number in range(0, 30, 3):
            assert application.send_now([str(number), str(number + 1)])
            await application.text(str(number + 2))
        assert await texts(client, 30) == list(map(str, range(30)))
    assert application.refused == [False], "before the socket was accepted"


async def test_text_is_written_within_the_call(application, port):
    async with raw(application, port) as client:
        written = []
        application.connection.transport = Recorder(application.connection.transport, written)
        assert application.send_now(["ä", "", "x" * 70_000])
        sizes = b"\x81\x02" + "ä".encode(), b"\x81\x00", b"\x81\x7f" + struct.pack("!Q", 70_000) + b"x" * 70_000
        assert written == [b"".join(sizes)], "in one piece"
        assert await texts(client, 3) == ["ä", "", "x" * 70_000]


class Recorder:
    """A transport that notes what is written to it."""

    def __init__(self, transport, written):
        self._transport = transport
        self._written = written

    def write(self, data):
        self._written.append(data)
        self._transport.write(data)

    def __getattr__(self, name):
        return getattr(self._transport, name)


async def test_client_that_offers_compression_reads_compressed_and_other_texts(application):
    async with serving(application) as port, connect(f"ws://127.0.0.1:{port}/") as client:
        await application.sockets.get()
        assert client.protocol.extensions
        sent = [f"the same words again and again, {number}" for number in range(20)]
        written = []
        application.connection.transport = Recorder(application.connection.transport, written)
        for text in sent[:10]:
            assert application.send_now([text])
            await application.text(text)
        assert {data[0] for data in written[::2]} == {0x81}
        assert {data[0] for data in written[1::2]} == {0xC1}, "RSV1 is set (RFC 7692 §6)"
        assert application.send_now(sent[10:])
        got = [await client.recv() for _ in range(30)]
    assert got == [text for text in sent[:10] for _ in range(2)] + sent[10:]


async def test_text_that_cannot_be_encoded_is_an_error_and_sends_none_of_its_call(application, port):
    async with raw(application, port) as client:
        with pytest.raises(UnicodeEncodeError):
            application.send_now(["a", "\ud800"])
        assert application.send_now(["b"])
        assert await texts(client, 1) == ["b"]


async def test_client_that_is_behind_is_sent_no_more_than_the_buffer_holds(application, port):
    """And then each text once, in order."""
    async with raw(application, port, buffer_bytes=4_096) as client:
        transport, count = application.connection.transport, 0
        while application.send_now([f"{count} {BIG}"]):
            count += 1
            assert transport.get_write_buffer_size() < BUFFER_BYTES + 2 * len(BIG)
            await asyncio.sleep(0)
        assert count
        held = transport.get_write_buffer_size()
        assert not any(application.send_now(["never"]) for _ in range(100))
        assert transport.get_write_buffer_size() == held
        sending = asyncio.create_task(application.text(f"{count} {BIG}"))
        await asyncio.sleep(0)
        assert not sending.done(), "uvicorn waits for the client, as ever"
        got = await texts(client, count + 1)
        await sending
        assert [int(text.split()[0]) for text in got] == list(range(count + 1))
        assert application.send_now(["and on"])
        assert await texts(client, 1) == ["and on"]


async def test_viewer_of_a_slow_client_sends_each_text_once(application, port):
    """As the gateway does it: at once where that is possible, otherwise by waiting."""
    async with raw(application, port, buffer_bytes=4_096) as client:
        writer, at_once, numbers = SocketWriter(application.send, application.send_now), [], iter(range(400))

        async def send():
            for number in numbers:
                text = f"{number} {BIG}"
                at_once.append(writer.send_now([text]))
                if not at_once[-1]:
                    await writer.send(text)
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        got = [int((await client.answer()).payload.split()[0]) for _ in range(400)]
        await sending
    assert got == list(range(400))
    assert set(at_once) == {True, False}


async def test_send_that_is_cancelled_while_it_waits_has_sent_nothing(application, port):
    async with raw(application, port, buffer_bytes=4_096) as client:
        writer, count = SocketWriter(application.send, application.send_now), 0
        while writer.send_now([f"{count} {BIG}"]):
            count += 1
            await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await writer.send("given up")
        assert not writer.send_now(["never"]), "the client is still behind"
        sending = asyncio.create_task(writer.send("last"))
        got = await texts(client, count + 1)
        await sending
        assert [text.split()[0] for text in got] == [*map(str, range(count)), "last"]
        assert writer.send_now(["and on"])
        assert await texts(client, 1) == ["and on"]


@pytest.mark.parametrize("end", ["close", "client closes", "client is lost", "uvicorn stops"])
async def test_nothing_is_sent_after_the_end(application, port, end):
    async with raw(application, port) as client:
        connection = application.connection
        if end == "close":
            await application.send({"type": "websocket.close", "code": 4503, "reason": "later"})
            assert not application.send_now(["too late"])
            assert (await client.answer()).close == (4503, "later")
            await client.send(CLOSE, struct.pack("!H", 1000))
        elif end == "client closes":
            await client.send(CLOSE, struct.pack("!H", 1001))
            message = await application.receive()
            assert (message["type"], message["code"]) == ("websocket.disconnect", 1001)
        elif end == "client is lost":
            client.writer.transport.abort()
        else:
            connection.shutdown()
            assert (await client.answer()).close == (1012, "")
        assert end == "client is lost" or not application.send_now(["too late"])
        await until(lambda: connection.disconnected)
        assert not application.send_now(["too late"])
        if end == "client is lost":
            writer = SocketWriter(application.send, application.send_now)
            assert writer.send_now(["too late"])  # by a task, which finds the client gone
            with pytest.raises(ClientGone):
                await writer.send("too late")


async def test_texts_that_were_accepted_are_in_front_of_the_close_frame(application, port):
    async with raw(application, port) as client:
        writer = SocketWriter(application.send, application.send_now)
        assert writer.send_now(["a", "b"])
        await writer.close(CloseCode.SERVER_RESTART)
        assert await texts(client, 2) == ["a", "b"]
        assert (await client.answer()).close[0] == CloseCode.SERVER_RESTART


async def test_pings_are_sent_and_answered_between_the_texts(application):
    options = {"ws_per_message_deflate": False, "ws_ping_interval": 0.05, "ws_ping_timeout": 60}
    async with serving(application, **options) as port, raw(application, port) as client:
        seen, count = [], 0
        while seen.count(PING) < 2 or seen.count(PONG) < 2:
            assert application.send_now([str(count)])
            await client.send(PING, b"mine")
            frames = [await client.frame()]
            while frames[-1].opcode != TEXT:
                frames.append(await client.frame())
            assert frames[-1].payload == str(count).encode()
            seen += [frame.opcode for frame in frames]
            for frame in frames:
                if frame.opcode == PING:
                    await client.send(PONG, frame.payload)
            count += 1


async def test_pings_of_several_sockets_leave_together_and_none_early(application, monkeypatch):
    monkeypatch.setattr("relay.server.uvicorn.PING_GROUP_SECONDS", 1_000)
    now, timers = asyncio.get_running_loop().time(), []
    async with serving(application, ws_ping_interval=20) as port, AsyncExitStack() as leaving:
        for _ in range(3):
            await leaving.enter_async_context(RawSocket(port, "/"))
            leaving.callback((await application.sockets.get()).set)
            timers.append(application.connection.ping_timer)
        assert len({timer.when() for timer in timers}) == 1
        assert timers[0].when() >= now + 20
        assert not any(timer.cancelled() for timer in timers)


async def test_message_above_the_limit_closes_with_1009(application):
    options = {"ws_per_message_deflate": False, "ws_max_size": 1_000}
    async with serving(application, **options) as port, raw(application, port) as client:
        await client.send(TEXT, b"x" * 1_001)
        assert (await client.answer()).close[0] == 1009
        assert not application.send_now(["too late"])


async def test_client_is_not_read_faster_than_its_messages_are_received(application, port):
    async with raw(application, port) as client:
        await client.send(TEXT, b"first")
        await until(lambda: application.connection.read_paused)
        await client.send_bytes(b"".join(encoded(TEXT, str(number).encode()) for number in range(100)))
        assert (await application.receive())["text"] == "first"
        got = [(await application.receive())["text"] for _ in range(100)]
        assert got == list(map(str, range(100)))


async def test_consumer_is_cancelled_while_it_receives_and_then_receives_on(application, port):
    async with raw(application, port) as client:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await application.receive()
        await client.send(TEXT, b"hello")
        async with asyncio.timeout(60):
            assert (await application.receive())["text"] == "hello"


async def test_handshake_that_the_library_refuses_reaches_no_consumer(application, port):
    request = handshake("/").replace(b"Version: 13", b"Version: 12")
    assert (await exchange(port, request)).startswith(b"HTTP/1.1 400 ")
    assert not application.refused


async def test_consumer_that_refuses_the_handshake_sends_nothing():
    accepted = []

    async def refuse(scope, receive, send):
        await send({"type": "websocket.close"})
        accepted.append(scope["extensions"][SEND_NOW](["too late"]))

    async with serving(refuse) as port:
        answer = await exchange(port, handshake("/"))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"too late" not in answer
    assert accepted == [False]


def test_uvicorn_calls_no_method_that_the_light_ones_lack():
    source = inspect.getsource(websockets_sansio_impl)
    for name, cls in (("queue", LightQueue), ("writable", LightEvent)):
        called = set(re.findall(rf"self\.{name}\.(\w+)", source))
        assert called
        assert all(hasattr(cls, method) for method in called), called


def test_heads_are_not_read_after_the_handshake():
    """So that their headers may be dropped."""
    source = inspect.getsource(websockets_sansio_impl.WebSocketsSansIOProtocol)
    readers = {
        function.__name__
        for function in vars(websockets_sansio_impl.WebSocketsSansIOProtocol).values()
        if inspect.isfunction(function) and re.search(r"self\.(request|response)\b", inspect.getsource(function))
    }
    assert readers == {"handle_connect", "send"}
    accepting = source.index("self.start_keepalive()\n")
    assert not re.search(r"self\.(request|response)\b", source[accepting:])


def test_module_is_imported_without_django_daphne_and_twisted():
    """As uvicorn does it, before it imports the application."""
    program = f"""
import sys
from uvicorn.importer import import_from_string
import_from_string({PATH!r})
from django.conf import settings
assert not settings.configured
assert not {{"daphne", "twisted"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True)
