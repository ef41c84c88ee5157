"""Frames by RFC 6455, after the ideas of Autobahn's client cases: against an echo under the gateway's server."""

from __future__ import annotations

import pytest

from tests.processes import Process
from tests.server.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawSocket, encoded

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG = 1002, 1007, 1009
LIMIT = 1_048_576


def echo(service: Process) -> RawSocket:
    return RawSocket(service.port, "/echo")


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT])
async def test_message_of_each_length_comes_back(service, opcode, size):
    async with echo(service) as client:
        await client.send(opcode, b"*" * size)
        frame = await client.frame()
        assert (frame.opcode, frame.payload, frame.is_final) == (opcode, b"*" * size, True)


@pytest.mark.parametrize("sent", [b"", "κόσμε 🙂 \u2028\x00".encode()])
async def test_message_in_fragments_and_single_bytes_with_control_frames_between_is_one(service, sent):
    async with echo(service) as client:
        middle = len(sent) // 2 + 1  # within a character
        frames = [
            encoded(TEXT, sent[:middle], fin=False),
            encoded(PING, b"1"),
            encoded(CONTINUATION, b"", fin=False),
            encoded(PONG, b"nobody asked"),
            encoded(CONTINUATION, sent[middle:]),
        ]
        for number in range(len(data := b"".join(frames))):
            await client.send_bytes(data[number : number + 1])
        assert ((await client.frame()).payload, (await client.frame()).payload) == (b"1", sent)


async def test_many_messages_in_one_write_come_back_in_order(service):
    async with echo(service) as client:
        await client.send_bytes(b"".join(encoded(TEXT, b"%d" % number) for number in range(3_000)))
        assert [int((await client.frame()).payload) for _ in range(3_000)] == list(range(3_000))


@pytest.mark.parametrize("payload", [b"", b"hello", bytes(range(125))])
async def test_ping_gets_its_payload_back(service, payload):
    async with echo(service) as client:
        await client.send(PING, payload)
        frame = await client.frame()
        assert (frame.opcode, frame.payload) == (PONG, payload)


BROKEN = {
    "reserved bits": (encoded(TEXT, b"x", rsv=4), PROTOCOL_ERROR),
    "reserved opcode 3": (encoded(3, b"x"), PROTOCOL_ERROR),
    "reserved control opcode 11": (encoded(11), PROTOCOL_ERROR),
    "without mask": (encoded(TEXT, b"x", mask=False), PROTOCOL_ERROR),
    "fragmented ping": (encoded(PING, b"x", fin=False), PROTOCOL_ERROR),
    "ping of 126 bytes": (encoded(PING, b"x" * 126), PROTOCOL_ERROR),
    "continuation of nothing": (encoded(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "message within a message": (encoded(TEXT, b"x", fin=False) + encoded(TEXT, b"y"), PROTOCOL_ERROR),
    "length not minimal": (b"\x81\xfe\x00\x05\0\0\0\0hello", PROTOCOL_ERROR),
    "close with one byte": (encoded(CLOSE, b"\x03"), PROTOCOL_ERROR),
    "close with code 1005": (encoded(CLOSE, b"\x03\xed"), PROTOCOL_ERROR),
    "close with code 999": (encoded(CLOSE, b"\x03\xe7"), PROTOCOL_ERROR),
    "close with code 65535": (encoded(CLOSE, b"\xff\xff"), PROTOCOL_ERROR),
    "close with a reason that is no UTF-8": (encoded(CLOSE, b"\x03\xe8\xff"), INVALID_DATA),
    "text that is no UTF-8": (encoded(TEXT, b"a\xff"), INVALID_DATA),
    "text with a surrogate": (encoded(TEXT, b"\xed\xa0\x80"), INVALID_DATA),
    "text that ends within a character": (encoded(TEXT, b"\xce"), INVALID_DATA),
    "no UTF-8 in the first fragment": (encoded(TEXT, b"\xf4\x90", fin=False), INVALID_DATA),
    "a frame too big": (encoded(BINARY, length=LIMIT + 1), TOO_BIG),
    "a frame of 2^62 bytes": (encoded(BINARY, length=2**62), TOO_BIG),
    "fragments too big": (encoded(BINARY, bytes(LIMIT), fin=False) + encoded(CONTINUATION, b"x"), TOO_BIG),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_violation_gets_its_close_code_and_the_end_whatever_follows(service, case):
    data, code = BROKEN[case]
    async with echo(service) as client:
        await client.send(TEXT, b"before")
        assert (await client.frame()).payload == b"before"
        await client.send_bytes(data + encoded(TEXT, b"after") + encoded(PING, b"after"))
        frame = await client.frame()
        assert frame.close[0] == code
        assert await client.ended() == b""


async def test_client_that_sends_on_after_a_violation_still_reads_why(service):
    async with echo(service) as client:
        client.writer.write(encoded(BINARY, length=2**40))
        for _ in range(64):
            client.writer.write(bytes(65_536))
        assert (await client.frame()).close[0] == TOO_BIG
