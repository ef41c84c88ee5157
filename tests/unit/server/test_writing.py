"""How the server writes frames: in order, in one piece a turn of the loop, and no faster than the client takes them."""

from __future__ import annotations

import asyncio
from unittest.mock import Mock

import pytest
from twisted.protocols.policies import ProtocolWrapper

from relay.server.writing import MAX_PIECES_BYTES, FrameWriter, WriteBatcher


class Transport:
    """Twisted's side: a socket with room for so many bytes, and a buffer behind it."""

    connected = True
    disconnecting = False
    _writeDisconnected = False  # noqa: N815 - Twisted's name

    def __init__(self, room=1_000_000):
        self.room = room
        self.sent = []
        self.dataBuffer, self.offset = b"", 0
        self._tempDataLen = 0
        self.waiting = b""

    @property
    def socket(self):
        return self

    def send(self, data):
        if not self.room:
            raise BlockingIOError
        size = min(len(data), self.room)
        self.room -= size
        self.sent.append(data[:size])
        return size

    def writeSomeData(self):
        """Only its name counts: a Twisted transport with a socket of its own has it."""

    def write(self, data):
        self.waiting += data
        self._tempDataLen = len(self.waiting)


async def test_frames_of_one_turn_go_out_together_at_its_end():
    transport, other, write_batcher = Transport(), Transport(), WriteBatcher()
    writing, others = FrameWriter(transport, write_batcher), FrameWriter(other, write_batcher)
    writing.write(b"a")
    others.write(b"x")
    writing.write(b"b")
    assert transport.sent == []
    await asyncio.sleep(0)
    assert (transport.sent, other.sent) == ([b"ab"], [b"x"])
    writing.write(b"c")
    await asyncio.sleep(0)
    assert transport.sent == [b"ab", b"c"]


async def test_what_the_socket_does_not_take_waits_and_so_does_all_after_it():
    transport = Transport(room=3)
    writing = FrameWriter(transport, WriteBatcher())
    writing.write(b"abcdef")
    await asyncio.sleep(0)
    assert (transport.sent, transport.waiting) == ([b"abc"], b"def")
    transport.room = 100
    writing.write(b"g")
    await asyncio.sleep(0)
    assert (transport.sent, transport.waiting) == ([b"abc"], b"defg"), "never overtaken"


async def test_much_in_one_turn_is_not_held_back():
    transport = Transport(room=0)
    writing = FrameWriter(transport, WriteBatcher())
    writing.write(b"x" * (MAX_PIECES_BYTES + 1))
    assert len(transport.waiting) == MAX_PIECES_BYTES + 1, "so that flow control sees it in this very turn"


async def test_flush_writes_at_once_and_once():
    transport = Transport()
    writing = FrameWriter(transport, WriteBatcher())
    writing.write(b"a")
    writing.flush()
    assert transport.sent == [b"a"]
    await asyncio.sleep(0)
    assert transport.sent == [b"a"]


@pytest.mark.parametrize("state", ["connected", "disconnecting", "_writeDisconnected", "lost"])
async def test_connection_that_is_ending_is_left_to_twisted(state):
    transport = Transport()
    if state == "lost":
        transport.send = Mock(side_effect=ConnectionResetError)
    else:
        setattr(transport, state, not getattr(transport, state))
    writing = FrameWriter(transport, WriteBatcher())
    writing.write(b"a")
    await asyncio.sleep(0)
    assert (transport.sent, transport.waiting) == ([], b"a")


async def test_nothing_is_written_past_tls():
    transport, encrypted = Transport(), []

    class Tls(ProtocolWrapper):
        def write(self, data):
            encrypted.append(data)

    tls = Tls(Mock(), Mock())
    tls.transport = transport
    assert tls.writeSomeData, "Twisted's wrapper passes on the attributes of what it wraps"
    FrameWriter(tls, WriteBatcher()).write(b"secret")
    await asyncio.sleep(0)
    assert (transport.sent, encrypted) == ([], [b"secret"])


async def test_connection_that_cannot_be_written_to_holds_up_no_other(caplog):
    broken, transport, write_batcher = Transport(), Transport(), WriteBatcher()
    broken.send = None
    FrameWriter(broken, write_batcher).write(b"secret")
    FrameWriter(transport, write_batcher).write(b"a")
    await asyncio.sleep(0)
    assert transport.sent == [b"a"]
    assert [record.message for record in caplog.records] == ["write to a client failed"]
