"""The outgoing side of a streamed response, before a server that takes its time."""

from __future__ import annotations

import asyncio

import pytest

from relay.delivery import body_writer
from relay.delivery.body_writer import BodyWriter
from relay.tasks import cancel_and_wait

LIMIT_SECONDS = 60


class Server:
    """A server with the extension: what it was given, and whether it has room."""

    def __init__(self):
        self.sent = []
        self.has_room = True

    def send_now(self, pieces):
        if self.has_room:
            self.sent += pieces
        return self.has_room


@pytest.fixture
async def writer():
    return BodyWriter()


@pytest.fixture
async def direct(writer):
    """A server that is given the pieces directly."""
    server = Server()
    writer.use(server.send_now)
    return server


async def taken(writer):
    async with asyncio.timeout(LIMIT_SECONDS):
        return await writer.take()


async def started(work):
    """Run a coroutine up to where it waits."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    return task


async def test_what_is_accepted_before_the_body_runs_is_taken_in_one_piece(writer):
    taking = await started(writer.take())
    for pieces in ([b"a", b"b"], [b"c"]):
        assert writer.send_now(pieces)
    writer.put(b"d")
    assert await taking == b"abcd"


async def test_nothing_is_accepted_while_the_server_has_a_piece(writer):
    assert writer.send_now([b"a"])
    assert await taken(writer) == b"a"
    assert not writer.can_send_now()
    assert not writer.send_now([b"b"])
    taking = await started(writer.take())
    assert writer.send_now([b"c"])
    assert await taking == b"c"


async def test_no_more_is_accepted_than_there_is_room_for_and_what_is_put_goes_behind_it(writer, monkeypatch):
    monkeypatch.setattr(body_writer, "MAX_WAITING_BYTES", 3)
    assert writer.send_now([b"ab"])
    assert writer.send_now([b"cd"])
    assert not writer.send_now([b"e"])
    writer.put(b"f")
    assert await taken(writer) == b"abcdf"


async def test_a_send_waits_until_the_server_comes_back_for_more(writer):
    writer.put(b"a")
    sending = await started(writer.send(b"b"))
    assert await taken(writer) == b"ab"
    await asyncio.sleep(0)
    assert not sending.done()
    taking = await started(writer.take())
    assert writer.is_sending  # more may follow
    await sending
    assert not writer.is_sending
    writer.put(b"c")
    assert await taking == b"c"


async def test_a_send_that_is_given_up_no_longer_counts_as_waiting(writer):
    sending = await started(writer.send(b"a"))
    await cancel_and_wait(sending)
    assert await taken(writer) == b"a"
    await started(writer.take())
    assert not writer.is_sending


async def test_blocked_from_the_first_piece_that_waits_until_the_server_comes_back(writer):
    assert not writer.blocked_seconds
    writer.put(b"a")
    assert writer.blocked_seconds
    await taken(writer)
    assert writer.blocked_seconds
    taking = await started(writer.take())
    assert not writer.blocked_seconds
    taking.cancel()


async def test_a_body_is_blocked_for_as_long_as_one_piece_and_idle_since_the_last(writer, monkeypatch):
    moments = iter([10.0, 12.0, 15.0, 21.0, 22.0, 30.0])
    monkeypatch.setattr(body_writer, "monotonic", lambda: next(moments))
    monkeypatch.setattr("relay.delivery.client_writer.monotonic", lambda: next(moments))
    writer.put(b"a")  # at 10
    await taken(writer)  # at 12
    writer.put(b"b")  # waits behind it, and changes nothing
    assert writer.blocked_seconds == 15 - 12
    await taken(writer)  # at 21 and 22
    assert writer.idle_seconds == 30 - 22


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_the_end_comes_behind_all_that_was_accepted(writer, is_awaited):
    taking = await started(writer.take()) if is_awaited else None
    writer.finish()
    assert writer.send_now([b"a"])
    assert await (taking or taken(writer)) == b"a"
    assert await taken(writer) is None
    assert await taken(writer) is None


async def test_a_body_that_waits_learns_of_the_end(writer):
    taking = await started(writer.take())
    writer.finish()
    assert await taking is None


async def test_pieces_go_to_the_extension_of_a_server_that_has_it_while_the_body_waits(writer, direct):
    taking = await started(writer.take())
    assert writer.send_now([b"a", b"b"])
    assert writer.send_now([b"c"])
    assert (direct.sent, taking.done(), writer.is_sending) == ([b"a", b"b", b"c"], False, False)
    taking.cancel()


async def test_nothing_overtakes_what_the_body_has_or_will_take(writer, direct):
    assert writer.send_now([b"a"])  # the body has not started
    assert await taken(writer) == b"a"
    taking = await started(writer.take())
    writer.put(b"b")
    assert writer.send_now([b"c"])
    assert await taking == b"bc"
    assert not writer.send_now([b"d"])
    assert direct.sent == []


async def test_what_the_extension_refuses_is_taken_by_the_body(writer, direct):
    direct.has_room = False
    taking = await started(writer.take())
    assert writer.send_now([b"a"])
    direct.has_room = True
    assert writer.send_now([b"b"])
    assert await taking == b"ab"
    assert direct.sent == []
