"""The JavaScript client by itself: the module in Chromium, over a fake socket and a clock that stands still."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route

from tests.clients import LIMIT_SECONDS

ROOT = Path(__file__).resolve().parent.parent.parent
MODULE = ROOT / "relay" / "static" / "relay" / "gateway-client.js"
FAKE_SOCKET = Path(__file__).with_name("fake_socket.js")
ORIGIN = "http://gateway.test"
PAGE = "<!doctype html><title>client</title>"

MOMENTS = itertools.count(1_000_000, 100_000)  # when each test's clock stands still; it never goes back
MAX_DELAY_MS = 15_000
STABLE_MS = 5_000
CONNECT_LIMIT_MS = 20_000
HEARTBEAT_SECONDS = 20
SILENCE_LIMIT_MS = 50_000

pytestmark = pytest.mark.asyncio(loop_scope="session")


class ClientPage:
    """A page with one client; it speaks in frames, as the server and as the page's own code."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def connect(self, options: str = "") -> None:
        """Connect with ``options``, JavaScript source of further properties."""
        await self.page.evaluate(f"""async () => {{
            const module = await import('{ORIGIN}/gateway-client.js');
            Object.assign(window, module, {{ turns: [] }});
            window.client = connect({{ sessionId: 's1', WebSocket: FakeWebSocket, {options} }});
            listen(client);
        }}""")

    async def open(self, options: str = "", **welcome: Any) -> None:
        await self.connect(options)
        await self.say(welcome_frame(**welcome))

    async def say(self, *frames: dict[str, Any]) -> None:
        """Say frames as the server, over the newest connection."""
        await self.page.evaluate(
            "frames => { for (const frame of frames) sockets.at(-1).onmessage({ data: JSON.stringify(frame) }) }",
            list(frames),
        )

    async def drop(self, close_code: int = 1006) -> None:
        await self.page.evaluate("code => sockets.at(-1).onclose({ code })", close_code)

    async def send(self, content: str, options: str = "") -> None:
        """Send a message from the page; its turn is ``turns.at(-1)``."""
        fields = f"{{ clientMessageId: 'm' + (turns.length + 1), {options} }}"
        await self.page.evaluate(f"content => {{ turns.push(client.send(content, {fields})) }}", content)

    async def run(self, source: str) -> Any:
        return await self.page.evaluate(source)

    async def turn(self, index: int = -1) -> dict[str, Any]:
        return await self.page.evaluate("index => turnState(turns.at(index))", index)

    async def socket_count(self) -> int:
        return await self.page.evaluate("sockets.length")

    async def sent(self) -> list[dict[str, Any]]:
        """What went over the newest connection."""
        return await self.page.evaluate("sockets.at(-1).sent")

    async def query(self) -> dict[str, str]:
        return await self.page.evaluate("Object.fromEntries(sockets.at(-1).url.searchParams)")

    async def heard(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in await self.page.evaluate("heard") if event["kind"] in kinds]

    async def state(self) -> dict[str, Any]:
        return await self.page.evaluate("client.state")

    async def pass_time(self, ms: int) -> None:
        await self.page.clock.run_for(ms)

    async def fix_random(self, value: float) -> None:
        await self.page.evaluate(f"Math.random = () => {value}")

    async def reconnect(self, **welcome: Any) -> None:
        """Let the wait pass, and welcome the next connection."""
        count = await self.socket_count()
        await self.pass_time(MAX_DELAY_MS)
        assert await self.socket_count() == count + 1
        await self.say(welcome_frame(recovered=True, **welcome))


def welcome_frame(**fields: Any) -> dict[str, Any]:
    return {
        "type": "welcome",
        "session_id": "s1",
        "epoch": "E1",
        "offset": 0,
        "after": 0,
        "recovered": None,
        "heartbeat_seconds": HEARTBEAT_SECONDS,
        "retention_seconds": 3600,
        "max_message_bytes": 65_536,
        "active": None,
        "queued": [],
        **fields,
    }


def user_message(offset: int, turn_id: str = "t1", content: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"type": "user_message", "content": content, "turn_id": turn_id, "offset": offset, **fields}


def token(offset: int, text: str, turn_id: str = "t1", **fields: Any) -> dict[str, Any]:
    frame = {"type": "assistant_message", "token": text, "is_final": False, "turn_id": turn_id, "offset": offset}
    return {**frame, **fields}


def final(offset: int, turn_id: str = "t1", finish_reason: str = "stop") -> dict[str, Any]:
    return {**token(offset, "", turn_id), "is_final": True, "finish_reason": finish_reason}


def failure(offset: int, turn_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {"type": "error", "code": "upstream_error", "content": "No.", "turn_id": turn_id, "offset": offset, **fields}


def accepted(message_id: str = "m1", turn_id: str = "t1", **fields: Any) -> dict[str, Any]:
    frame = {"type": "accepted", "client_message_id": message_id, "turn_id": turn_id}
    return {**frame, "position": 0, "status": "queued", "duplicate": False, **fields}


def snapshot(offset: int, content: str | None, turn_id: str | None = "t1", **fields: Any) -> dict[str, Any]:
    frame = {"type": "snapshot", "epoch": "E1", "turn_id": turn_id, "content": content, "offset": offset}
    return {**frame, "reason": "trimmed", "finish_reason": None, "error": None, **fields}


def cancel_ack(turn_id: str | None, status: str) -> dict[str, Any]:
    return {"type": "cancel_ack", "turn_id": turn_id, "status": status}


def ping(offset: int, epoch: str = "E1") -> dict[str, Any]:
    return {"type": "ping", "epoch": epoch, "offset": offset}


def disconnect(code: str, *, reconnect: bool, **fields: Any) -> dict[str, Any]:
    return {"type": "disconnect", "code": code, "content": "Bye.", "reconnect": reconnect, **fields}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def only_page(browser: Browser) -> AsyncIterator[Page]:
    """One page for all tests here: a new document is as fresh as a new tab, at a tenth of its cost."""

    async def serve(route: Route) -> None:
        if route.request.url.endswith(".js"):
            await route.fulfill(path=MODULE, content_type="text/javascript")
        else:
            await route.fulfill(body=PAGE, content_type="text/html")

    async with await browser.new_context() as context:
        page = await context.new_page()
        await page.route(f"{ORIGIN}/**", serve)
        await page.add_init_script(path=FAKE_SOCKET)
        await page.clock.install(time=0)
        yield page


@pytest_asyncio.fixture(loop_scope="session")
async def client(only_page: Page) -> ClientPage:
    await only_page.goto(f"{ORIGIN}/")
    await only_page.clock.pause_at(next(MOMENTS))
    return ClientPage(only_page)


# Connecting.


async def test_connect_with_session_id_opens_socket_of_the_page(client: ClientPage) -> None:
    await client.connect("sessionId: 'a:b~@c.d-1'")
    assert await client.run("sockets[0].url.href") == "ws://gateway.test/ws/a%3Ab~%40c.d-1/?coalesce=1"
    assert await client.run("sockets[0].protocols") == ["gateway.v1"]
    assert (await client.state())["state"] == "connecting"


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ("base: 'https://chat.example.com'", "wss://chat.example.com/ws/s1/?coalesce=1"),
        ("base: 'https://chat.example.com/gateway/'", "wss://chat.example.com/gateway/ws/s1/?coalesce=1"),
        ("base: 'ws://127.0.0.1:8000'", "ws://127.0.0.1:8000/ws/s1/?coalesce=1"),
        ("base: '/gateway'", "ws://gateway.test/gateway/ws/s1/?coalesce=1"),
        ("url: 'wss://chat.example.com/ws/x/'", "wss://chat.example.com/ws/x/?coalesce=1"),
        ("url: '/ws/x/?tenant=1#part'", "ws://gateway.test/ws/x/?tenant=1&coalesce=1"),
        ("coalesce: false", "ws://gateway.test/ws/s1/"),
        ("cursor: { offset: 0 }", "ws://gateway.test/ws/s1/?coalesce=1&offset=0"),
        ("cursor: { epoch: 'E9', offset: 12 }", "ws://gateway.test/ws/s1/?coalesce=1&epoch=E9&offset=12"),
        ("cursor: null", "ws://gateway.test/ws/s1/?coalesce=1"),
    ],
)
async def test_connect_with_options_builds_address(client: ClientPage, options: str, address: str) -> None:
    await client.connect(options)
    assert await client.run("sockets[0].url.href") == address


@pytest.mark.parametrize("session_id", ["", ".", "..", "a/b", "ä", "x" * 129])
async def test_connect_with_invalid_session_id_throws(client: ClientPage, session_id: str) -> None:
    await client.connect()
    thrown = await client.page.evaluate(
        "sessionId => { try { connect({ sessionId, WebSocket: FakeWebSocket }) } catch (error) { return error.name } }",
        session_id,
    )
    assert thrown == "TypeError"


async def test_ticket_callback_is_asked_for_every_connection(client: ClientPage) -> None:
    await client.connect("ticket: async () => `ü?>${window.count = (window.count ?? 0) + 1}`")
    await client.run("0")
    await client.drop()
    await client.pass_time(MAX_DELAY_MS)
    offered = await client.run("sockets.map(socket => socket.protocols)")
    for number, protocols in enumerate(offered, 1):
        encoded = base64.urlsafe_b64encode(f"ü?>{number}".encode()).decode().rstrip("=")
        assert protocols == ["gateway.v1", f"gateway.ticket.{encoded}"]
    assert len(offered) == 2


async def test_ticket_of_null_is_left_out(client: ClientPage) -> None:
    await client.connect("ticket: () => null")
    assert await client.run("sockets[0].protocols") == ["gateway.v1"]


async def test_ticket_callback_that_fails_is_asked_again_later(client: ClientPage) -> None:
    await client.connect("ticket: async () => { if (!window.works) throw new Error('no ticket'); return 'x' }")
    assert (await client.state())["code"] == "connect_failed"
    assert await client.socket_count() == 0
    await client.run("window.works = true")
    await client.pass_time(MAX_DELAY_MS)
    assert await client.socket_count() == 1


async def test_ticket_callback_that_hangs_is_given_up(client: ClientPage) -> None:
    await client.connect("ticket: () => new Promise(resolve => { window.answerLate ??= () => resolve('late') })")
    await client.pass_time(CONNECT_LIMIT_MS)
    assert (await client.state())["code"] == "line_dead"
    await client.run("answerLate()")
    assert await client.socket_count() == 0


async def test_handshake_without_welcome_is_given_up(client: ClientPage) -> None:
    await client.connect()
    await client.pass_time(CONNECT_LIMIT_MS - 1)
    assert (await client.state())["state"] == "connecting"
    await client.pass_time(1)
    assert (await client.state())["state"] == "waiting"
    assert await client.run("sockets[0].isClosed")


async def test_welcome_opens_client(client: ClientPage) -> None:
    await client.open(active={"turn_id": "t7", "status": "running"})
    assert await client.state() == {"state": "open"}
    assert [event["kind"] for event in await client.heard("state", "welcome")] == ["state", "welcome"]
    assert await client.run("client.activeTurnId") == "t7"


# Frames of the log.


async def test_turn_of_another_tab_is_told_frame_by_frame(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1, content="hello"), token(2, "a"), token(3, "b"), final(4))
    kinds = [event["kind"] for event in await client.heard("user_message", "token", "final")]
    assert kinds == ["user_message", "token", "token", "final"]
    assert await client.run("client.cursor") == {"epoch": "E1", "offset": 4}
    assert await client.run("client.activeTurnId") is None


async def test_frames_seen_already_are_dropped(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1), token(2, "a"), token(2, "a"), user_message(1), token(3, "b"))
    assert [event["token"] for event in await client.heard("token")] == ["a", "b"]


async def test_merged_frames_count_as_the_frames_they_stand_for(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1), token(4, "abc", from_offset=2), token(4, "abc", from_offset=2), token(5, "d"))
    assert [event["token"] for event in await client.heard("token")] == ["abc", "d"]
    assert await client.socket_count() == 1


@pytest.mark.parametrize("frame", [token(3, "b"), token(5, "bcd", from_offset=3)])
async def test_hole_in_offsets_reconnects_with_cursor(client: ClientPage, frame: dict[str, Any]) -> None:
    await client.open()
    await client.say(user_message(1), frame)
    assert await client.heard("token") == []
    assert (await client.state())["code"] == "gap"
    await client.pass_time(0)
    assert await client.query() == {"coalesce": "1", "epoch": "E1", "offset": "1"}
    assert await client.run("sockets[0].isClosed")


async def test_hole_that_stays_backs_off(client: ClientPage) -> None:
    await client.fix_random(1)
    await client.open()
    await client.say(token(9, "x"))
    assert (await client.state())["delayMs"] == 0
    await client.pass_time(0)
    await client.say(welcome_frame(recovered=True), token(9, "x"))
    assert (await client.state())["delayMs"] == 2_000


async def test_old_connection_is_not_heard_any_more(client: ClientPage) -> None:
    await client.open()
    await client.drop()
    await client.reconnect()
    await client.run("sockets[0].onmessage({ data: JSON.stringify({ type: 'notice', code: 'x', content: 'late' }) })")
    await client.run("sockets[0].onclose({ code: 1000 })")
    assert await client.heard("notice") == []
    assert (await client.state())["state"] == "open"


@pytest.mark.parametrize(
    "data", ["'{'", "'[]'", "'null'", "'{}'", "'{\"type\": 7}'", "new Blob([])", '\'{"type": "new"}\'']
)
async def test_text_that_is_no_known_frame_is_ignored(client: ClientPage, data: str) -> None:
    await client.open()
    await client.run(f"sockets[0].onmessage({{ data: {data} }})")
    await client.say(user_message(1))
    assert (await client.state())["state"] == "open"
    assert len(await client.heard("user_message")) == 1


async def test_unknown_type_in_log_is_an_event(client: ClientPage) -> None:
    await client.open()
    await client.say(
        user_message(1),
        {"type": "tool_call", "name": "clock", "from_offset": 9, "turn_id": "t1", "offset": 2},
        token(3, "a"),
    )
    assert [event["name"] for event in await client.heard("event")] == ["clock"]
    assert len(await client.heard("token")) == 1


async def test_notices_with_and_without_turn_are_told(client: ClientPage) -> None:
    await client.open()
    notice = {"type": "notice", "code": "upstream_event_skipped", "content": "Skipped."}
    await client.say(user_message(1), {**notice, "turn_id": "t1", "offset": 2}, {**notice, "code": "operator"})
    assert [event["code"] for event in await client.heard("notice")] == ["upstream_event_skipped", "operator"]


async def test_emoji_cut_in_halves_is_joined(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.page.evaluate(r"""() => {
        const say = text => sockets.at(-1).onmessage({ data: text });
        say('{"type":"user_message","content":"hi","client_message_id":"m1","turn_id":"t1","offset":1}');
        say('{"type":"assistant_message","token":"\\ud83d","is_final":false,"turn_id":"t1","offset":2}');
        say('{"type":"assistant_message","token":"\\ude00","is_final":false,"turn_id":"t1","offset":3}');
    }""")
    assert (await client.turn())["text"] == "😀"


async def test_handler_that_throws_does_not_disturb_others(client: ClientPage) -> None:
    errors: list[str] = []
    client.page.on("pageerror", lambda error: errors.append(str(error)))
    await client.open()
    await client.run(
        "client.on('token', () => { throw new Error('mine') }); client.on('token', () => window.wasCalled = true); 0"
    )
    await client.say(user_message(1), token(2, "a"), token(3, "b"))
    assert await client.run("wasCalled")
    async with asyncio.timeout(LIMIT_SECONDS):  # what a page throws is told by itself
        while len(errors) < 2:
            await asyncio.sleep(0.01)
    assert all("mine" in error for error in errors)


async def test_handler_taken_off_is_not_called(client: ClientPage) -> None:
    await client.open()
    await client.run("window.calls = 0; client.on('token', () => calls++)()")
    await client.say(user_message(1), token(2, "a"))
    assert await client.run("calls") == 0


# Coming back.


async def test_cursor_before_any_frame_is_after_of_welcome(client: ClientPage) -> None:
    await client.open(offset=7, after=5)
    await client.drop()
    await client.pass_time(MAX_DELAY_MS)
    assert await client.query() == {"coalesce": "1", "epoch": "E1", "offset": "5"}


async def test_cursor_before_welcome_is_the_one_given(client: ClientPage) -> None:
    await client.connect("cursor: { offset: 0 }")
    await client.drop()
    await client.pass_time(MAX_DELAY_MS)
    assert await client.query() == {"coalesce": "1", "offset": "0"}


async def test_cursor_while_snapshot_is_awaited_is_the_old_one(client: ClientPage) -> None:
    await client.open("cursor: { epoch: 'E0', offset: 3 }", after=None, recovered=False)
    await client.drop()
    await client.pass_time(MAX_DELAY_MS)
    assert await client.query() == {"coalesce": "1", "epoch": "E0", "offset": "3"}


async def test_lost_line_resumes_after_last_frame(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.say(user_message(1, client_message_id="m1"), token(2, "a"))
    await client.drop()
    await client.reconnect(offset=3, after=2)
    await client.say(token(3, "b"), final(4))
    assert (await client.turn())["text"] == "ab"
    assert (await client.turn())["status"] == "ended"


async def test_backoff_doubles_with_full_jitter_up_to_cap(client: ClientPage) -> None:
    await client.connect()
    delays = []
    for random in [1, 1, 0.25, 1, 1, 1, 1]:
        await client.fix_random(random)
        await client.drop()
        delays.append((await client.state())["delayMs"])
        await client.pass_time(MAX_DELAY_MS)
    assert delays == [1_000, 2_000, 1_000, 8_000, MAX_DELAY_MS, MAX_DELAY_MS, MAX_DELAY_MS]


async def test_backoff_starts_anew_after_stable_connection(client: ClientPage) -> None:
    await client.fix_random(1)
    await client.open()
    await client.drop()
    await client.reconnect()
    await client.pass_time(STABLE_MS - 1)
    await client.drop()
    assert (await client.state())["delayMs"] == 2_000
    await client.reconnect()
    await client.pass_time(STABLE_MS)
    await client.drop()
    assert (await client.state())["delayMs"] == 1_000


async def test_disconnect_with_delay_comes_back_when_told(client: ClientPage) -> None:
    await client.open()
    await client.say(disconnect("server_restart", reconnect=True, delay_ms=4_321))
    state = await client.state()
    assert (state["state"], state["code"], state["delayMs"]) == ("waiting", "server_restart", 4_321)
    await client.pass_time(4_320)
    assert await client.socket_count() == 1
    await client.pass_time(1)
    assert await client.socket_count() == 2


async def test_disconnect_repeated_at_once_backs_off_beyond_its_delay(client: ClientPage) -> None:
    await client.fix_random(1)
    await client.open()
    await client.say(disconnect("too_slow", reconnect=True, delay_ms=0))
    await client.pass_time(0)
    await client.say(welcome_frame(), disconnect("too_slow", reconnect=True, delay_ms=0))
    assert (await client.state())["delayMs"] == 2_000


@pytest.mark.parametrize("code", ["unauthorized", "forbidden", "kicked", "session_deleted"])
async def test_disconnect_for_good_closes_client(client: ClientPage, code: str) -> None:
    await client.open()
    await client.say(disconnect(code, reconnect=False))
    await client.drop(4408)
    await client.pass_time(MAX_DELAY_MS)
    assert await client.state() == {"state": "closed", "code": code, "content": "Bye."}
    assert await client.socket_count() == 1


@pytest.mark.parametrize(("close_code", "code"), [(1000, "closed"), (4401, "unauthorized"), (4403, "forbidden")])
async def test_close_code_for_good_closes_client(client: ClientPage, close_code: int, code: str) -> None:
    await client.connect()
    await client.drop(close_code)
    await client.pass_time(MAX_DELAY_MS)
    assert (await client.state())["code"] == code
    assert await client.socket_count() == 1


@pytest.mark.parametrize("close_code", [1001, 1005, 1006, 1009, 1011, 1012, 4429, 4503, 4508])
async def test_close_code_of_passing_trouble_comes_back(client: ClientPage, close_code: int) -> None:
    await client.open()
    await client.drop(close_code)
    await client.pass_time(MAX_DELAY_MS)
    assert await client.socket_count() == 2


@pytest.mark.parametrize("leave", [disconnect("idle", reconnect=True, delay_ms=0), 4408])
async def test_idle_client_sleeps_until_a_message_is_sent(client: ClientPage, leave: Any) -> None:
    await client.open()
    await (client.drop(leave) if isinstance(leave, int) else client.say(leave))
    await client.pass_time(10 * MAX_DELAY_MS)
    assert await client.socket_count() == 1
    assert (await client.state())["delayMs"] is None
    await client.send("hi")
    assert await client.socket_count() == 2
    await client.say(welcome_frame())
    assert [frame["content"] for frame in await client.sent()] == ["hi"]


async def test_idle_client_with_open_turn_comes_back(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1), disconnect("idle", reconnect=True, delay_ms=10))
    await client.pass_time(10)
    assert await client.socket_count() == 2


async def test_online_event_ends_the_wait(client: ClientPage) -> None:
    await client.open()
    await client.drop()
    await client.run("dispatchEvent(new Event('online'))")
    assert await client.socket_count() == 2


async def test_online_event_replaces_an_open_line(client: ClientPage) -> None:
    await client.open()
    await client.run("dispatchEvent(new Event('online'))")
    await client.pass_time(0)
    assert await client.socket_count() == 2
    assert await client.run("sockets[0].isClosed")


async def test_offline_event_ends_an_open_line_and_no_wait(client: ClientPage) -> None:
    await client.open()
    await client.run("dispatchEvent(new Event('offline'))")
    assert (await client.state())["code"] == "network_changed"
    assert await client.run("sockets[0].isClosed")
    await client.pass_time(0)
    await client.drop()
    await client.run("dispatchEvent(new Event('offline'))")
    assert await client.socket_count() == 2


async def test_visible_page_ends_the_wait(client: ClientPage) -> None:
    await client.open()
    await client.drop()
    await client.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert await client.socket_count() == 2


async def test_hidden_page_waits_on(client: ClientPage) -> None:
    await client.open()
    await client.drop()
    await client.run("Object.defineProperty(document, 'hidden', { value: true })")
    await client.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert await client.socket_count() == 1


async def test_wake_before_the_delay_of_the_server_waits_on(client: ClientPage) -> None:
    await client.open()
    await client.say(disconnect("rate_limited", reconnect=True, delay_ms=9_000))
    await client.pass_time(8_999)
    await client.run("client.wake()")
    await client.run("dispatchEvent(new Event('online'))")
    assert await client.socket_count() == 1


# A dead line.


async def test_silent_line_is_left_after_two_and_a_half_heartbeats(client: ClientPage) -> None:
    await client.open()
    await client.pass_time(SILENCE_LIMIT_MS - 1)
    assert (await client.state())["state"] == "open"
    await client.pass_time(1)
    assert (await client.state())["code"] == "line_dead"
    await client.pass_time(1)
    assert await client.socket_count() == 2


async def test_any_frame_shows_that_the_line_lives(client: ClientPage) -> None:
    await client.open()
    for _ in range(3):
        await client.pass_time(SILENCE_LIMIT_MS - 1)
        await client.say(ping(0))
    assert await client.socket_count() == 1


async def test_line_that_died_while_the_machine_slept_is_left_when_seen(client: ClientPage) -> None:
    await client.open()
    awake_ms = await client.run("Date.now()") + SILENCE_LIMIT_MS
    await client.page.clock.set_system_time(awake_ms / 1000)  # no timer fires by that
    await client.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert (await client.state())["code"] == "line_dead"


async def test_welcome_without_heartbeat_sets_no_limit(client: ClientPage) -> None:
    await client.open(heartbeat_seconds=0)
    await client.pass_time(10 * SILENCE_LIMIT_MS)
    assert (await client.state())["state"] == "open"


@pytest.mark.parametrize("frame", [ping(3), ping(1, epoch="E2")])
async def test_ping_ahead_of_what_was_seen_reconnects(client: ClientPage, frame: dict[str, Any]) -> None:
    await client.open()
    await client.say(user_message(1), ping(1))
    assert (await client.state())["state"] == "open"
    await client.say(frame)
    await client.pass_time(0)
    assert await client.query() == {"coalesce": "1", "epoch": "E1", "offset": "1"}


# Sending.


async def test_message_is_sent_with_its_id_and_fields(client: ClientPage) -> None:
    await client.open()
    await client.send("hi", "onBusy: 'reject', type: 'hitl_decision', choice: 2")
    message = {"type": "hitl_decision", "content": "hi", "choice": 2, "client_message_id": "m1", "on_busy": "reject"}
    assert await client.sent() == [message]


async def test_message_without_id_gets_a_random_one(client: ClientPage) -> None:
    await client.open()
    ids = await client.run("[client.send('a').clientMessageId, client.send('a').clientMessageId]")
    assert len(set(ids)) == 2
    assert all(len(one) == 32 for one in ids)


async def test_message_sent_twice_under_one_id_is_one_turn(client: ClientPage) -> None:
    await client.open()
    same = "client.send('a', { clientMessageId: 'm1' })"
    assert await client.run(f"(window.first = {same}) === {same}")
    await client.say(accepted("m1", "t1"))
    assert await client.run(f"first === {same}")
    assert len(await client.sent()) == 1


async def test_message_with_invalid_id_throws(client: ClientPage) -> None:
    await client.open()
    thrown = "() => { try { client.send('a', { clientMessageId: 'ä' }) } catch (error) { return error.name } }"
    assert await client.run(thrown) == "TypeError"


async def test_message_before_welcome_is_sent_after_it(client: ClientPage) -> None:
    await client.connect()
    await client.send("a")
    await client.send("b")
    assert await client.sent() == []
    await client.say(welcome_frame())
    assert [frame["content"] for frame in await client.sent()] == ["a", "b"]


async def test_message_not_accepted_is_sent_again_with_the_same_id(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    await client.send("b")
    await client.say(accepted("m1", "t1"))
    await client.drop()
    await client.reconnect()
    assert [frame["client_message_id"] for frame in await client.sent()] == ["m2"]
    await client.say(accepted("m2", "t2", duplicate=True))
    await client.drop()
    await client.reconnect()
    assert await client.sent() == []


async def test_message_whose_first_frame_came_counts_as_accepted(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    await client.say(user_message(1, client_message_id="m1"))
    assert await client.run("turns[0].accepted") == "t1"
    await client.drop()
    await client.reconnect()
    assert await client.sent() == []


async def test_message_without_reply_is_sent_again_at_heartbeat(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    await client.say(ping(0))
    assert [frame["client_message_id"] for frame in await client.sent()] == ["m1", "m1"]


async def test_accepted_message_shows_its_place(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    assert (await client.turn())["status"] == "sending"
    await client.say(accepted(position=2))
    turn = await client.turn()
    assert (turn["id"], turn["status"], turn["position"]) == ("t1", "queued", 2)
    await client.say(user_message(1, client_message_id="m1"))
    turn = await client.turn()
    assert (turn["status"], turn["position"]) == ("running", None)


async def test_accepted_after_the_turn_ended_changes_nothing(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    await client.say(
        user_message(1, client_message_id="m1"), token(2, "x"), final(3), accepted(status="running"), ping(3)
    )
    turn = await client.turn()
    assert (turn["status"], turn["text"], turn["error"]) == ("ended", "x", None)


async def test_refused_message_fails_with_code(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    refusal = {
        "type": "error",
        "code": "queue_full",
        "content": "Full.",
        "client_message_id": "m1",
        "retry_after_ms": 900,
    }
    await client.say(refusal)
    assert (await client.turn())["error"] == {"code": "queue_full", "retryAfterMs": 900}
    assert await client.run("turns[0].done.catch(error => [error.name, error.message])") == ["GatewayError", "Full."]
    assert await client.run("turns[0].accepted.catch(error => error.code)") == "queue_full"
    assert [event["code"] for event in await client.heard("refused")] == ["queue_full"]
    await client.drop()
    await client.reconnect()
    assert await client.sent() == []


async def test_error_without_message_or_turn_is_told_as_refused(client: ClientPage) -> None:
    await client.open()
    await client.say({"type": "error", "code": "bad_request", "content": "Invalid JSON message"})
    assert [event["code"] for event in await client.heard("refused")] == ["bad_request"]


async def test_message_above_the_limit_is_refused_here(client: ClientPage) -> None:
    await client.open(max_message_bytes=200)
    await client.send("ä" * 100)
    assert (await client.turn())["error"]["code"] == "message_too_large"
    assert await client.sent() == []
    await client.send("ok")
    assert len(await client.sent()) == 1


async def test_message_that_broke_the_line_by_its_size_is_not_sent_again(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    await client.drop(1009)
    assert (await client.turn())["error"]["code"] == "message_too_large"
    await client.reconnect()
    assert await client.sent() == []


async def test_more_unsent_messages_than_the_bound_are_refused(client: ClientPage) -> None:
    await client.connect()
    codes = await client.run("Array.from({ length: 101 }, () => client.send('a')).map(turn => turn.error?.code)")
    assert codes == [None] * 100 + ["queue_full"]


# Turns and their texts.


async def test_iterator_gives_whole_text_so_far(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.run("""() => {
        window.texts = [];
        void (async () => { for await (const text of turns[0]) texts.push(text); texts.push('end') })();
    }""")
    await client.say(user_message(1, client_message_id="m1"), token(2, ""))
    await client.say(token(3, "a"))
    await client.say(token(4, "b"), token(5, "c"))
    await client.say(final(6))
    assert await client.run("texts") == ["a", "abc", "end"]
    assert await client.run("turns[0].done") == "abc"


async def test_two_iterators_see_the_same(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.run("""() => {
        window.texts = [[], []];
        const read = async into => { for await (const text of turns[0]) into.push(text) };
        window.reading = Promise.all(texts.map(read)).then(() => texts);
    }""")
    await client.say(user_message(1, client_message_id="m1"), token(2, "a"))
    await client.say(token(3, "b"), final(4))
    assert await client.run("reading") == [["a", "ab"], ["a", "ab"]]


async def test_iterator_of_failed_turn_throws_after_its_text(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.say(
        user_message(1, client_message_id="m1"), token(2, "a"), failure(3, code="interrupted", retry_after_ms=5)
    )
    caught = """async () => { const texts = [];
        try { for await (const text of turns[0]) texts.push(text) } catch (error) { return [texts, error.code] } }"""
    assert await client.run(caught) == [["a"], "interrupted"]
    assert [event["code"] for event in await client.heard("error")] == ["interrupted"]


async def test_failed_turn_nobody_looks_at_raises_nothing(client: ClientPage) -> None:
    errors: list[str] = []
    client.page.on("pageerror", lambda error: errors.append(str(error)))
    await client.open()
    await client.send("hi")
    await client.say(user_message(1, client_message_id="m1"), failure(2))
    await client.run("0")
    assert errors == []


async def test_snapshot_replaces_text(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.run("window.texts = []; void (async () => { for await (const text of turns[0]) texts.push(text) })()")
    await client.say(user_message(1, client_message_id="m1"), token(2, "old"))
    await client.drop()
    active = {"turn_id": "t1", "status": "running"}
    await client.reconnect(offset=90, after=None, active=active)
    await client.say(snapshot(90, "the whole text"))
    await client.say(token(91, "."), final(92))
    assert await client.run("texts") == ["old", "the whole text", "the whole text."]
    assert (await client.turn())["text"] == "the whole text."
    assert await client.run("client.cursor") == {"epoch": "E1", "offset": 92}


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ({"finish_reason": "stop"}, "final"),
        ({"finish_reason": "error", "error": {"code": "buffer_lost", "content": "Lost."}}, "error"),
    ],
)
async def test_snapshot_of_ended_turn_ends_it(client: ClientPage, end: dict[str, Any], kind: str) -> None:
    await client.open()
    await client.send("hi")
    await client.say(user_message(1, client_message_id="m1"), token(2, "old"))
    await client.drop()
    await client.reconnect(offset=90, after=None)
    await client.say(snapshot(90, "all", **end))
    turn = await client.turn()
    assert (turn["status"], turn["text"], turn["finishReason"]) == ("ended", "all", end["finish_reason"])
    assert [event["turn_id"] for event in await client.heard(kind)] == ["t1"]


async def test_turns_that_ended_in_a_gap_fail(client: ClientPage) -> None:
    await client.open()
    for content in ["gone", "running", "queued"]:
        await client.send(content)
    await client.say(accepted("m1", "t1"), accepted("m2", "t2"), accepted("m3", "t3"))
    await client.drop()
    active = {"turn_id": "t2", "status": "running"}
    await client.reconnect(offset=90, after=None, active=active, queued=["t3"])
    await client.say(snapshot(90, "half", "t2"))
    assert [(await client.turn(index))["status"] for index in range(3)] == ["ended", "running", "queued"]
    assert (await client.turn(0))["error"]["code"] == "replay_gap"


@pytest.mark.parametrize(("queued", "status"), [(["t2"], "queued"), ([], "ended")])
async def test_client_that_was_overtaken_asks_what_became_of_the_other_turns(
    client: ClientPage, queued: list[str], status: str
) -> None:
    """A snapshot in mid-connection tells of one turn only; the next welcome tells of the others."""
    await client.open()
    await client.send("long")
    await client.send("next")
    await client.say(accepted("m1", "t1"), user_message(1, client_message_id="m1"), accepted("m2", "t2"))
    await client.say(snapshot(500, "so far"))
    assert (await client.state())["code"] == "gap"
    assert [(await client.turn(index))["status"] for index in range(2)] == ["running", "queued"]
    active = {"turn_id": "t1", "status": "running"}
    await client.reconnect(offset=500, after=500, active=active, queued=queued)
    assert await client.query() == {"coalesce": "1", "epoch": "E1", "offset": "500"}
    await client.say(token(501, "."), ping(501))
    assert (await client.turn(0))["text"] == "so far."
    assert (await client.turn(1))["status"] == status


async def test_overtaken_client_with_one_turn_goes_on(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1), token(2, "a"), snapshot(500, "so far"), token(501, "."))
    assert (await client.state())["state"] == "open"
    assert (await client.heard("token"))[-1]["token"] == "."


async def test_new_epoch_with_nothing_kept_fails_accepted_turns_only(client: ClientPage) -> None:
    await client.open()
    await client.send("accepted")
    await client.send("not accepted")
    await client.say(accepted(), user_message(1, client_message_id="m1"), token(2, "a"))
    await client.drop()
    await client.reconnect(epoch="E2", after=None)
    await client.say(snapshot(0, None, None, epoch="E2", reason="epoch_changed"))
    assert (await client.turn(0))["error"]["code"] == "replay_gap"
    assert (await client.turn(0))["text"] == "a"
    assert [frame["client_message_id"] for frame in await client.sent()] == ["m2"]
    await client.say(user_message(1, "t2", client_message_id="m2"))
    assert (await client.turn(1))["status"] == "running"


async def test_epoch_in_welcome_of_new_log_is_taken_over(client: ClientPage) -> None:
    await client.open("cursor: { epoch: 'E0', offset: 40 }", epoch="E1", after=0, recovered=True)
    await client.say(user_message(1))
    assert await client.run("client.cursor") == {"epoch": "E1", "offset": 1}


async def test_message_whose_turn_is_only_in_the_snapshot_gets_its_text(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.drop()
    await client.reconnect(offset=90, after=None)
    await client.say(snapshot(90, "all", finish_reason="stop"), accepted(status="ended", position=None, duplicate=True))
    turn = await client.turn()
    assert (turn["status"], turn["text"], turn["error"]) == ("ended", "all", None)


async def test_message_answered_in_a_gap_fails_at_heartbeat(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.drop()
    await client.reconnect(offset=90, after=None)
    await client.say(snapshot(90, "other", "t9", finish_reason="stop"), accepted(status="ended", position=None))
    assert (await client.turn())["status"] != "ended"
    await client.say(ping(90))
    assert (await client.turn())["error"]["code"] == "replay_gap"


# Stopping.


async def test_cancel_stops_the_turn_in_flight(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1), token(2, "a"))
    await client.run("client.cancel()")
    assert await client.sent() == [{"type": "cancel", "turn_id": "t1"}]


async def test_stopped_turn_shows_no_later_token(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.say(user_message(1, client_message_id="m1"), token(2, "a"))
    await client.run("turns[0].cancel()")
    await client.say(token(3, "b"), cancel_ack("t1", "cancelling"), token(4, "c"), final(5, finish_reason="cancelled"))
    turn = await client.turn()
    assert (turn["text"], turn["isStopped"], turn["finishReason"]) == ("a", True, "cancelled")
    assert [event["token"] for event in await client.heard("token")] == ["a"]
    assert await client.run("client.cursor.offset") == 5


async def test_stopped_turn_is_not_resumed_after_reconnect(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.say(user_message(1, client_message_id="m1"), token(2, "a"))
    await client.drop()
    await client.run("client.cancel()")
    active = {"turn_id": "t1", "status": "running"}
    await client.reconnect(offset=3, after=2, active=active)
    assert await client.sent() == [{"type": "cancel", "turn_id": "t1"}]
    await client.say(token(3, "b"), snapshot(50, "abcdef"), final(51, finish_reason="cancelled"))
    assert (await client.turn())["text"] == "a"


async def test_cancel_is_sent_again_until_acknowledged(client: ClientPage) -> None:
    await client.open()
    await client.say(user_message(1))
    await client.run("client.cancel()")
    await client.drop()
    await client.reconnect(offset=1, after=1)
    assert await client.sent() == [{"type": "cancel", "turn_id": "t1"}]
    await client.say(cancel_ack("t1", "cancelling"))
    await client.drop()
    await client.reconnect(offset=1, after=1)
    assert await client.sent() == []


async def test_cancel_of_message_not_sent_yet_takes_it_back(client: ClientPage) -> None:
    await client.connect()
    await client.send("hi")
    await client.run("turns[0].cancel()")
    await client.say(welcome_frame())
    assert await client.sent() == []
    assert (await client.turn())["finishReason"] == "cancelled"
    assert await client.run("turns[0].done") == ""


async def test_cancel_before_accepted_is_sent_when_the_id_is_known(client: ClientPage) -> None:
    await client.open()
    await client.send("hi")
    await client.run("client.cancel()")
    assert [frame["type"] for frame in await client.sent()] == ["user_message"]
    await client.say(accepted())
    assert (await client.sent())[-1] == {"type": "cancel", "turn_id": "t1"}


async def test_cancel_with_nothing_known_asks_the_server(client: ClientPage) -> None:
    await client.open()
    await client.run("client.cancel()")
    assert await client.sent() == [{"type": "cancel"}]
    await client.say(cancel_ack("t5", "queued"), user_message(1, "t5"), token(2, "x", "t5"))
    assert await client.heard("token") == []


async def test_cancel_of_a_turn_that_ended_long_ago_tells_no_error(client: ClientPage) -> None:
    await client.open()
    await client.run("client.cancel('t0')")
    await client.say(cancel_ack("t0", "already_ended"), ping(0))
    assert await client.heard("error") == []


# Leaving.


async def test_close_fails_open_turns_and_stays_closed(client: ClientPage) -> None:
    await client.open()
    await client.send("a")
    await client.send("b")
    await client.say(accepted("m1", "t1"))
    await client.run("client.close(); client.close()")
    await client.send("c")
    assert [(await client.turn(index))["error"]["code"] for index in range(3)] == ["closed"] * 3
    await client.run("dispatchEvent(new Event('online')); client.wake()")
    await client.pass_time(MAX_DELAY_MS)
    assert await client.socket_count() == 1
    assert await client.run("sockets[0].isClosed")
    assert [event["state"] for event in await client.heard("state")][-1] == "closed"


async def test_close_while_waiting_ends_the_wait(client: ClientPage) -> None:
    await client.open()
    await client.drop()
    await client.run("client.close()")
    await client.pass_time(MAX_DELAY_MS)
    assert await client.socket_count() == 1


async def test_close_in_a_handler_of_state_is_final(client: ClientPage) -> None:
    await client.open()
    await client.run("client.on('state', ({ state }) => state === 'waiting' && client.close()); 0")
    await client.drop()
    await client.pass_time(MAX_DELAY_MS)
    assert await client.socket_count() == 1
