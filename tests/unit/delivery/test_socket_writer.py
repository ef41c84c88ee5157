"""The outgoing side of a socket, before a server that takes its time."""

from __future__ import annotations

import asyncio

import pytest

from relay.delivery.socket_writer import ClientGone, SocketWriter
from relay.protocol.frames import CloseCode


class Server:
    """ASGI's ``send``: takes texts while it is open, holds them back while it is not."""

    def __init__(self):
        self.sent = []
        self.error = None
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def send(self, event):
        await self.is_open.wait()
        if self.error is not None:
            raise self.error
        self.sent.append(event.get("text", event["type"]))


@pytest.fixture
async def server():
    return Server()


@pytest.fixture
async def line(server):
    return SocketWriter(server.send)


async def started():
    """Let a task start that sends texts."""
    await asyncio.sleep(0)


async def test_texts_are_with_the_server_one_iteration_later_and_in_order(server, line):
    assert line.send_now(["a", "b"])
    await line.send("c")
    assert line.send_now(["d"])
    await started()
    assert server.sent == ["a", "b", "c", "d"]
    assert not line.blocked_seconds


async def test_texts_go_to_the_extension_of_a_server_that_has_it(server):
    sent, moods = [], iter([True, False])
    line = SocketWriter(server.send, lambda texts: next(moods) and not sent.append(texts))
    assert line.send_now(["a", "b"])
    assert line.send_now(["c"]), "a task sends it"
    assert not line.send_now(["d"])
    await line.send("d")
    assert (sent, server.sent) == ([["a", "b"]], ["c", "d"])


async def test_texts_that_were_accepted_go_out_before_the_close(server, line):
    assert line.send_now(["a", "b"])
    await line.close(CloseCode.SERVER_RESTART)
    assert server.sent == ["a", "b", "websocket.close"]


async def test_text_that_the_server_holds_back_arrives_once_and_before_the_next(server, line):
    server.is_open.clear()
    assert line.send_now(["a"]), "it is taken, though it waits"
    assert line.blocked_seconds
    assert not line.send_now(["b"]), "one waits already"
    sending = asyncio.create_task(line.send("b"))
    await asyncio.sleep(0)
    server.is_open.set()
    async with asyncio.timeout(60):
        await sending
    assert server.sent == ["a", "b"]
    assert line.send_now(["c"])
    await started()
    assert server.sent == ["a", "b", "c"]


async def test_client_that_has_gone_is_told_by_the_next_send(server, line):
    server.error = OSError("gone")
    assert line.send_now(["a"])
    with pytest.raises(ClientGone):
        await line.send("b")
    assert not line.send_now(["c"])
    assert server.sent == []


async def test_text_is_sent_once_by_a_send_that_raises_after_it_has_sent():
    sent = []

    async def send(event):
        sent.append(event["text"])
        raise RuntimeError("after all")

    line = SocketWriter(send)
    assert line.send_now(["a"])
    with pytest.raises(RuntimeError):
        await line.send("b")
    assert sent == ["a"]


async def test_text_is_sent_once_by_a_send_with_a_time_limit():
    sent, is_open = [], asyncio.Event()

    async def send(event):
        async with asyncio.timeout(60):
            await is_open.wait()
            sent.append(event["text"])

    line = SocketWriter(send)
    assert line.send_now(["a", "b"])
    await started()
    is_open.set()
    await line.send("c")
    assert line.send_now(["d"])
    await started()
    assert sent == ["a", "b", "c", "d"]


async def test_client_that_goes_while_a_text_waits_is_told_to_the_next(server, line):
    server.is_open.clear()
    assert line.send_now(["a"])
    server.error = OSError("gone")
    server.is_open.set()
    with pytest.raises(ClientGone):
        await line.send("b")
    assert server.sent == []


async def test_nothing_is_sent_after_close_or_stop(server, line):
    await line.close(CloseCode.INTERNAL)
    assert not line.send_now(["a"])
    assert server.sent == ["websocket.close"]


async def test_stop_gives_up_what_waits(server, line):
    server.is_open.clear()
    assert line.send_now(["a"])
    await asyncio.sleep(0)
    await line.stop()
    server.is_open.set()
    await asyncio.sleep(0)
    assert server.sent == []
    assert not line.send_now(["b"])


async def test_last_text_goes_with_the_close_and_is_left_out_where_there_is_none():
    said = []

    async def send(event):
        said.append(event)

    await SocketWriter(send).close(CloseCode.TOO_SLOW, "bye")
    await SocketWriter(send).close(CloseCode.TOO_SLOW)
    close = {"type": "websocket.close", "code": 4508}
    assert said == [{**close, "relay.last_text": "bye"}, close]


async def test_nothing_follows_the_close_and_there_is_one(server, line):
    await line.close(CloseCode.SERVER_RESTART)
    await line.close(CloseCode.INTERNAL)
    with pytest.raises(ClientGone):
        await line.send("a")
    assert not line.send_now(["a"])
    assert server.sent == ["websocket.close"]


class AwaitableServer:
    """ASGI's ``send`` of servers that write before they return, such as Granian: a future, or another awaitable."""

    def __init__(self, awaitable):
        self.sent = []
        self.awaitable = awaitable

    def send(self, event):
        self.sent.append(event.get("text", event["type"]))
        return self.awaitable()


class Done:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()


def done_future():
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


def failed_future():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(OSError("gone"))
    return future


@pytest.mark.parametrize("awaitable", [done_future, Done])
async def test_text_is_sent_once_where_send_gives_no_coroutine(awaitable):
    server = AwaitableServer(awaitable)
    line = SocketWriter(server.send)
    for text in "abc":
        if not line.send_now([text]):
            await line.send(text)
    await started()
    await started()
    assert server.sent == ["a", "b", "c"]
    assert not line.blocked_seconds
    await line.close(CloseCode.INTERNAL)
    assert server.sent == ["a", "b", "c", "websocket.close"]


async def test_text_that_waits_where_send_gives_no_coroutine_counts_as_waiting():
    future = asyncio.get_running_loop().create_future()
    server = AwaitableServer(lambda: future)
    line = SocketWriter(server.send)
    assert line.send_now(["a"])
    await started()
    assert not line.send_now(["b"])
    assert line.blocked_seconds
    await asyncio.sleep(0)
    await line.stop()
    assert server.sent == ["a"]
    assert future.cancelled()


async def test_client_that_has_gone_is_told_by_send_where_it_gives_no_coroutine():
    server = AwaitableServer(failed_future)
    line = SocketWriter(server.send)
    assert line.send_now(["a"])
    with pytest.raises(ClientGone):
        await line.send("b")


async def test_send_that_raises_at_once_is_told_by_send():
    def send(event):
        raise OSError("gone")

    line = SocketWriter(send)
    assert line.send_now(["a"])
    with pytest.raises(ClientGone):
        await line.send("b")
