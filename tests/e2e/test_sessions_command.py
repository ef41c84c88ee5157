"""``manage.py sessions`` in a terminal: each session once, and a watched table that fits the screen."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests import processes
from tests.http_clients import API
from tests.terminals import LIMIT_SECONDS, Terminal

SESSIONS = 60
LINES = 20
OTHER_SCREEN, FIRST_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture(scope="module")
def gateway(scripted_agent: processes.Process) -> Iterator[processes.Process]:
    """A gateway with sessions that are idle, and one, the oldest, that is busy."""
    with processes.gateway("serve", scripted_agent.http_url) as gateway:
        headers = {"X-Internal-Auth": processes.KEY}
        with (
            httpx.Client(base_url=gateway.http_url, headers=headers, timeout=LIMIT_SECONDS) as client,
            ThreadPoolExecutor(8) as pool,
        ):

            def say(name: str, content: str) -> None:
                client.post(f"{API}/{name}/messages", json={"content": content}).raise_for_status()

            say("the-busy-one", "script:stall")
            list(pool.map(lambda number: say(f"idle-{number}", "x"), range(SESSIONS)))
            give_up_at = time.monotonic() + LIMIT_SECONDS
            while sum(session["active"] is not None for session in client.get(API).json()["sessions"]) > 1:
                assert time.monotonic() < give_up_at, "answers do not end"
        yield gateway


def terminal(gateway: processes.Process, *arguments: str, columns: int = 80) -> Terminal:
    env = {"GATEWAY_URL": gateway.http_url, "GATEWAY__INTERNAL_API_KEY": processes.KEY}
    return Terminal("sessions", *arguments, lines=LINES, columns=columns, **env)


def test_each_session_is_printed_once(gateway):
    with terminal(gateway) as screen:
        shown = screen.read_to_end()
        assert screen.wait_ended() == 0
    names = re.findall(r"the-busy-one|idle-\d+", shown)
    assert sorted(names) == sorted(["the-busy-one", *(f"idle-{number}" for number in range(SESSIONS))])
    assert names[0] == "the-busy-one"
    assert shown.count(f"{SESSIONS + 1} sessions") == 1


@pytest.fixture
def usual_name(gateway: processes.Process) -> Iterator[str]:
    """One more session, whose name has the usual length."""
    name = "00000000-1111-2222-3333-444444444444"
    headers = {"X-Internal-Auth": processes.KEY}
    httpx.post(
        f"{gateway.http_url}{API}/{name}/messages", json={"content": "x"}, headers=headers, timeout=LIMIT_SECONDS
    ).raise_for_status()
    yield name
    httpx.delete(f"{gateway.http_url}{API}/{name}", headers=headers, timeout=LIMIT_SECONDS).raise_for_status()


def test_name_of_a_usual_length_can_be_copied_from_a_usual_terminal(gateway, usual_name):
    with terminal(gateway) as screen:
        assert usual_name in screen.read_to_end()


def test_watched_table_fits_the_other_screen_and_has_the_busy_ones(gateway):
    with terminal(gateway, "--watch") as screen:
        screen.wait_for(OTHER_SCREEN)
        screen.wait_for(f"{SESSIONS + 1} sessions")
        shown = screen.wait_for("more")
        assert shown.index("the-busy-one") < shown.index("idle-")
        assert shown.count("\n") < LINES
        screen.process.send_signal(signal.SIGINT)
        screen.wait_for(FIRST_SCREEN)
        assert screen.wait_ended() == 0


def test_watched_names_are_cut_on_a_narrow_terminal_but_no_state_or_number(gateway, usual_name):
    with terminal(gateway, "--watch", columns=72) as screen:
        screen.wait_for(f"{SESSIONS + 2} sessions")
        shown = re.sub(r"\x1b\[[0-9;]*m", "", screen.wait_for("more"))
        screen.process.send_signal(signal.SIGINT)
        screen.wait_ended()
    assert usual_name not in shown
    assert re.search(rf"{usual_name[:8]}[-0-9]*…", shown)
    assert re.search(r"session +state +queue +viewers +frames/s +idle for +age", shown)
    assert re.search(r"the-busy-one +running +0 +0 ", shown)
