"""A pong on an idle socket is not parsed, and leaves the socket at rest; everything else is, and wakes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from relay.server import limits
from relay.server.websocket import WebSocketConnection
from tests.server.raw import PING, PONG, TEXT, encoded

NOW = 1_000.0


class Unread(bytearray):
    """Received bytes that wait to be parsed."""

    is_discarding = False

    def receive(self, data: bytes) -> None:
        self.extend(data)


class Watchdog:
    def __init__(self) -> None:
        self.woken: list[Any] = []

    def wake(self, protocol: Any) -> None:
        self.woken.append(protocol)
        protocol.rests_until = None


@pytest.fixture
def connection() -> Any:
    """A socket that was pinged, and rests until the next ping."""
    connection: Any = WebSocketConnection()
    connection.state = connection.STATE_OPEN
    connection.current_frame, connection.data = None, b""
    connection.server = SimpleNamespace(watchdog=Watchdog(), max_messages=None)
    connection.write_flow = SimpleNamespace(is_paused=False)
    connection.read_buffer = Unread()
    connection._message, connection._received_messages, connection._closing_at = None, 0, None
    connection._pinged_at = connection._last_ping_at = NOW
    connection.rests_until = NOW + limits.PING_SECONDS
    return connection


def is_parsed(connection: Any, data: bytes) -> bool:
    """Let a socket receive; what is parsed wakes it."""
    before = len(connection.read_buffer)
    connection.dataReceived(data)
    has_come = len(connection.read_buffer) - before
    assert has_come in (0, len(data))
    assert connection.server.watchdog.woken == [connection] * bool(has_come)
    return has_come > 0


@pytest.mark.parametrize("payload", [b"gateway", b"", b"another", bytes(125)], ids=len)
def test_the_pong_that_is_awaited_leaves_the_socket_at_rest(connection, payload):
    assert not is_parsed(connection, encoded(PONG, payload))
    assert connection._pinged_at is None
    assert connection.rests_until == NOW + limits.PING_SECONDS


WHOLE = encoded(PONG, b"gateway")


@pytest.mark.parametrize(
    "data",
    [
        WHOLE + WHOLE,
        WHOLE + b"\x81",
        *(WHOLE[:size] for size in range(1, len(WHOLE))),
        encoded(PING, b"gateway"),
        encoded(TEXT, b"gateway"),
        bytes((WHOLE[0] & 0x7F,)) + WHOLE[1:],
        bytes((WHOLE[0] | 0x40,)) + WHOLE[1:],
        b"\x8a\x07gateway",
        b"\x8a\x00",
        encoded(PONG, bytes(126)),
        b"\x8a\xfe" + bytes(130),
        b"\x8a\xff" + bytes(131),
    ],
)
def test_anything_else_is_parsed(connection, data):
    assert is_parsed(connection, data)
    assert connection._pinged_at == NOW


@pytest.mark.parametrize(
    "change",
    [
        {"_pinged_at": None},
        {"state": WebSocketConnection.STATE_CONNECTING},
        {"state": WebSocketConnection.STATE_CLOSING},
        {"current_frame": object()},
        {"data": b"\x81"},
        {"read_buffer": Unread(b"\x81")},
        {"_message": bytearray()},
        {"write_flow": SimpleNamespace(is_paused=True)},
        {"application_queue": SimpleNamespace(is_paused=True)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_pong_is_parsed_where_none_is_awaited_or_something_else_goes_on(connection, change):
    for name, value in change.items():
        setattr(connection, name, value)
    assert is_parsed(connection, WHOLE)


def test_a_pong_after_the_next_ping_would_have_been_due_wakes_the_socket(connection):
    connection.rests_until = NOW + limits.PONG_SECONDS
    connection.dataReceived(WHOLE)
    assert connection._pinged_at is None
    assert connection.server.watchdog.woken == [connection]


def test_a_socket_that_is_awake_takes_a_pong_and_stays_awake(connection):
    connection.rests_until = None
    assert not is_parsed(connection, WHOLE)
    assert (connection._pinged_at, connection.rests_until) == (None, None)


@pytest.mark.parametrize(
    ("pinged_at", "ping_seconds", "rests"),
    [(None, 20, 20), (0, 20, 20), (0, 40, 30), (-20, 20, 10), (-25, 20, 5)],
    ids=["none awaited", "just sent", "late before the next", "the next is due", "later"],
)
def test_a_socket_rests_until_its_next_ping_or_until_its_pong_is_late(
    connection, monkeypatch, pinged_at, ping_seconds, rests
):
    monkeypatch.setattr(limits, "PING_SECONDS", ping_seconds)
    monkeypatch.setattr(limits, "PONG_SECONDS", 30)
    connection._pinged_at = None if pinged_at is None else NOW + pinged_at
    connection._last_ping_at = NOW if pinged_at is None else connection._pinged_at
    assert connection._rest(NOW) == NOW + rests
