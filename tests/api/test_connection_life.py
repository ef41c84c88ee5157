"""One life of a connection: a socket and an event stream meet the same things, and hear the same words."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

import pytest
from prometheus_client import REGISTRY

from relay.delivery import timeouts
from relay.exceptions import Forbidden, Kicked, NotOwner, ServerRestart, SessionDeleted, StoreUnavailable, Unauthorized
from relay.layers.base import SessionLayer
from relay.policies import Handshake, Identity
from relay.process import heartbeats, lifecycle
from relay.protocol import frames
from relay.protocol.frames import CloseCode
from relay.testing.turns import message
from tests.clients import LIMIT_SECONDS, V1, CommunicatorClient
from tests.http_clients import API, EventReader, HttpClient

Frame = dict[str, Any]
CLOSE_CODES = {
    "unauthorized": CloseCode.UNAUTHORIZED,
    "forbidden": CloseCode.FORBIDDEN,
    "kicked": CloseCode.FORBIDDEN,
    "rate_limited": CloseCode.RATE_LIMITED,
    "store_unavailable": CloseCode.STORE_UNAVAILABLE,
    "server_restart": CloseCode.SERVER_RESTART,
    "session_deleted": CloseCode.SESSION_DELETED,
}
RETURNING = {"rate_limited", "store_unavailable", "server_restart"}


class Viewer(Protocol):
    async def frame(self) -> Frame: ...

    async def frame_of(self, kind: str) -> Frame: ...

    async def sign_of_life(self) -> None:
        """Wait for a heartbeat."""

    async def is_closed(self, code: str) -> None:
        """Check that nothing follows, and how the end looks below the frames."""


class OverSocket:
    def __init__(self, client: CommunicatorClient) -> None:
        self.frame, self.frame_of, self._client = client.frame, client.frame_of, client

    async def sign_of_life(self) -> None:
        await self._client.frame_of("ping")

    async def is_closed(self, code: str) -> None:
        assert await self._client.close_code() == CLOSE_CODES[code]


class OverEvents:
    def __init__(self, stream: Any) -> None:
        self.frame, self.frame_of, self._stream = stream.frame, stream.frame_of, stream

    async def sign_of_life(self) -> None:
        while (await self._stream.entry()).comment is None:
            pass

    async def is_closed(self, code: str) -> None:
        assert await self._stream.rest() == b""
        assert (self._stream.last_event_id == "closed") == (code not in RETURNING)


Connect = Callable[[], Any]


@pytest.fixture
def server_tasks() -> list[asyncio.Task[Any]]:
    """The task in which a server runs the application, of each connection."""
    return []


@pytest.fixture(params=["socket", "events"])
def connect(request: pytest.FixtureRequest, application: Any, server_tasks: list[Any]) -> Connect:
    """Open a session as a client from some address, over one transport."""

    async def from_address(scope: Any, receive: Any, send: Any) -> None:
        server_tasks.append(asyncio.current_task())
        await application({**scope, "client": ["192.0.2.1", 50_000]}, receive, send)

    @asynccontextmanager
    async def over_socket() -> AsyncIterator[Viewer]:
        async with CommunicatorClient(from_address, "/ws/s/", [V1]) as client:
            yield OverSocket(client)

    @asynccontextmanager
    async def over_events() -> AsyncIterator[Viewer]:
        async with HttpClient(from_address).open("GET", f"{API}/s/events", key=None) as (answer, chunks):
            assert answer.status == 200
            yield OverEvents(EventReader(chunks))

    return over_socket if request.param == "socket" else over_events


class Admitting:
    """A policy that admits each client, or fails where a test says so."""

    expires_at: float | None = None
    subject: str | None = None

    async def admit(self, handshake: Handshake) -> Identity:
        return Identity(self.subject, expires_at=self.expires_at)

    async def redeem(self, handshake: Handshake, epoch: str) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
async def policy(application: Any) -> Admitting:
    gateway: Any = await lifecycle.current()
    gateway.policy = Admitting()
    return gateway.policy  # type: ignore[no-any-return]  # a test's gateway


@pytest.fixture
async def gateway(policy: Admitting) -> Any:
    return await lifecycle.current()


async def hang(*_: Any) -> Any:
    await asyncio.Event().wait()


def raising(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def fail(*_: Any) -> Any:
        raise error

    return fail


def disconnects(code: str) -> float:
    return REGISTRY.get_sample_value("gateway_disconnects_total", {"code": code}) or 0.0


async def says_goodbye(viewer: Viewer, error: type[Any], *, is_first: bool = False) -> None:
    """The last frame is the whole ``disconnect`` of this reason."""
    frame = await (viewer.frame() if is_first else viewer.frame_of("disconnect"))
    assert frame["type"] == "disconnect"
    wanted = {"code": error.code, "content": error.sentence, "reconnect": error.code in RETURNING}
    assert {name: frame[name] for name in wanted} == wanted
    assert (frame["delay_ms"] > 0) == frame["reconnect"]
    await viewer.is_closed(error.code)


async def is_released(gateway: Any) -> None:
    """Nothing of a connection is left."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while gateway.connections or gateway.connection_limiter._taken:
            await asyncio.sleep(0)


async def test_connection_that_the_server_cancels_while_it_ends_leaves_the_session(
    connect, gateway, server_tasks, monkeypatch
):
    detached = []
    detach = gateway.layer.detach

    async def detach_while_cancelled(*call: Any) -> Any:
        for task in server_tasks:
            task.cancel()
        await asyncio.sleep(0)
        detached.append(await detach(*call))
        return detached[-1]

    monkeypatch.setattr(gateway.layer, "detach", detach_while_cancelled)
    async with asyncio.timeout(LIMIT_SECONDS):
        with contextlib.suppress(asyncio.CancelledError):
            async with connect() as viewer:
                await viewer.frame_of("welcome")
                (connection,) = gateway.connections
                leaving = asyncio.create_task(connection.disconnect(Kicked()))
                await viewer.frame_of("disconnect")
        await leaving
    assert detached == [0]


# Until the connection is open.


@pytest.mark.parametrize("step", ["attach", "ensure", "redeem"])
@pytest.mark.parametrize(
    ("failure", "error"),
    [(hang, StoreUnavailable), (raising(StoreUnavailable()), StoreUnavailable), (raising(NotOwner()), NotOwner)],
    ids=["slow", "out of reach", "owner changed"],
)
async def test_a_step_that_fails_or_takes_too_long_refuses_the_client(
    connect, gateway, monkeypatch, step, failure, error
):
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.05)
    monkeypatch.setattr(gateway.policy if step == "redeem" else gateway.layer, step, failure)
    before = disconnects(error.code)
    async with connect() as viewer:
        await says_goodbye(viewer, error, is_first=True)
    await is_released(gateway)
    assert disconnects(error.code) == before + 1


@pytest.mark.parametrize("limit", ["MAX_SOCKETS", "ADDRESS_MAX_SOCKETS", "ADDRESS_CONNECT_RATE"])
async def test_one_connection_too_many_is_refused(connect, gateway, configure, limit):
    configure(**{limit: "1"})
    async with connect() as first:
        assert (await first.frame())["type"] == "welcome"
        async with connect() as late:
            frame = await late.frame()
            assert (frame["type"], frame["code"], frame["reconnect"]) == ("disconnect", "rate_limited", True)
            assert frame["delay_ms"] >= 10_000
            await late.is_closed("rate_limited")
    await is_released(gateway)


async def test_a_draining_gateway_refuses_before_it_asks_the_store(connect, gateway, monkeypatch):
    gateway.is_draining = True
    monkeypatch.setattr(gateway.layer, "attach", raising(AssertionError("asked")))
    async with connect() as viewer:
        await says_goodbye(viewer, ServerRestart, is_first=True)
    await is_released(gateway)


# While it is open.


async def test_the_welcome_is_the_same(connect, gateway):
    async with connect() as viewer:
        welcome = await viewer.frame()
    assert list(welcome) == [
        "type", "session_id", "epoch", "offset", "after", "recovered", "heartbeat_seconds", "retention_seconds",
        "max_message_bytes", "active", "queued", "pending", "history",
    ]  # fmt: skip
    assert (welcome["session_id"], welcome["offset"], welcome["after"]) == ("s", 0, 0)


@pytest.mark.parametrize(
    "step", [hang, raising(StoreUnavailable()), raising(RuntimeError())], ids=["slow", "away", "bug"]
)
async def test_a_heartbeat_goes_on_while_the_store_fails(connect, gateway, configure, monkeypatch, step):
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.05)
    monkeypatch.setattr(heartbeats, "LAYER_SECONDS", 0.05)
    configure(HEARTBEAT_SECONDS="0.2")
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        await viewer.sign_of_life()
        monkeypatch.setattr(gateway.layer, "attach", step)
        monkeypatch.setattr(gateway.layer, "keep_attached", step)
        for _ in range(2):
            await viewer.sign_of_life()


async def test_a_viewer_whose_entry_was_lost_is_attached_at_its_heartbeat(connect, gateway, configure):
    configure(HEARTBEAT_SECONDS="0.2")
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        await gateway.layer.attach("s", "another viewer")
        (connection,) = gateway.connections
        await gateway.layer.detach("s", connection.viewer.name)
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await gateway.layer.get("s")).viewers < 2:
                await viewer.sign_of_life()
    await is_released(gateway)


@pytest.mark.parametrize("where", ["attach", "keep_attached"])
async def test_a_heartbeat_that_waits_ends_with_its_connection(connect, gateway, configure, monkeypatch, where):
    configure(HEARTBEAT_SECONDS="0.2")
    has_waited = asyncio.Event()

    async def wait(*_: Any) -> None:
        has_waited.set()
        await asyncio.Event().wait()

    async with connect() as viewer:
        await viewer.frame_of("welcome")
        (connection,) = gateway.connections
        if where == "attach":
            monkeypatch.setattr(gateway.layer, "keep_attached", partial(SessionLayer.keep_attached, gateway.layer))
        monkeypatch.setattr(gateway.layer, where, wait)
        async with asyncio.timeout(LIMIT_SECONDS):
            await has_waited.wait()
    await is_released(gateway)
    connection.beat(None)  # the answer comes too late
    assert connection.beats_at is None
    assert connection._beating is None or connection._beating.done()


async def test_a_heartbeat_ends_the_connection_to_a_session_that_has_another_owner(connect, gateway, policy, configure):
    policy.subject = "ann"
    configure(HEARTBEAT_SECONDS="0.2")
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        gateway.layer._index.peek("s").owner = "eve"
        await says_goodbye(viewer, NotOwner)
    await is_released(gateway)


async def test_expiry_ends_the_connection(connect, gateway, policy, monkeypatch):
    now = time.time()
    policy.expires_at = now + 1_000
    async with connect() as viewer:
        await viewer.frame_of("welcome")
    monkeypatch.setattr(time, "time", lambda: now + 1_000.5)
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        await says_goodbye(viewer, Unauthorized)
    await is_released(gateway)


async def test_a_slow_detach_does_not_hold_the_seat(connect, gateway, monkeypatch):
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.05)
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        monkeypatch.setattr(gateway.layer, "detach", hang)
    await is_released(gateway)


async def test_an_operators_notice_is_the_same(connect, gateway):
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        (connection,) = gateway.connections
        await connection.notify(frames.operator_notice("We restart at six."))
        assert await viewer.frame() == {"type": "notice", "code": "operator", "content": "We restart at six."}


@pytest.mark.parametrize("reason", [Kicked(), None, Forbidden()], ids=["kick", "drain", "forbidden"])
async def test_disconnect_is_the_last_frame_and_the_first_reason_counts(connect, gateway, reason, caplog):
    caplog.set_level("INFO")
    error = ServerRestart if reason is None else type(reason)
    before = disconnects(error.code)
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        (connection,) = gateway.connections
        leaving = asyncio.create_task(connection.disconnect(reason))
        await says_goodbye(viewer, error)
        await leaving
        await connection.disconnect(StoreUnavailable())
    assert disconnects(error.code) == before + 1
    assert [text for text in caplog.messages if text.startswith("client")] == [f"client disconnected: {error.code}"]
    await is_released(gateway)


async def test_a_deleted_session_ends_its_connections(connect, gateway):
    async with connect() as viewer:
        await viewer.frame_of("welcome")
        await gateway.layer.enqueue("s", message("x"))
        await gateway.layer.claim("s", "a worker")
        await viewer.frame_of("user_message")
        await gateway.layer.delete("s")
        await says_goodbye(viewer, SessionDeleted)
    await is_released(gateway)
