"""The questions of an operator at night, each answered by command in at most three steps, in a terminal."""

from __future__ import annotations

import re
import time
import uuid

import pytest

from tests import processes
from tests.clients import V1, SocketClient
from tests.databases import default_database, new_database
from tests.seeded_turns import OWN_WORDS, UNLUCKY, seeded_turns
from tests.terminals import LIMIT_SECONDS, Terminal

LATE = "Turns may be missing: the database did not answer."


class Desk:
    """A gateway with the turns of a bad night, and the terminal of an operator, whose commands are counted."""

    def __init__(self, gateway, database):
        self.gateway = gateway
        self.env = {
            "GATEWAY_URL": gateway.http_url, "GATEWAY__INTERNAL_API_KEY": processes.KEY,
            "GATEWAY__DATABASE_URL": database,
        }  # fmt: skip
        self.steps = 0

    def open(self, session_id):
        return SocketClient(f"{self.gateway.ws_url}/ws/{session_id}/", [V1])

    def type(self, *arguments, answer=""):
        """Type a command and what it asks; give what it shows, without colours and with single blanks.

        One that says that the database did not answer, which has a second, is typed again.
        """
        self.steps += 1
        assert self.steps <= 3
        give_up_at = time.monotonic() + LIMIT_SECONDS
        while LATE in (shown := self._shown(*arguments, answer=answer)):
            assert time.monotonic() < give_up_at, shown
        return shown

    def _shown(self, *arguments, answer):
        with Terminal(*arguments, lines=50, columns=200, **self.env) as terminal:
            if answer:
                terminal.wait_for("[y/N]")
                terminal.type(f"{answer}\n")
            shown = terminal.read_to_end()
            assert terminal.wait_ended() == 0, shown
        return re.sub(r"[ \t]+", " ", re.sub(r"\x1b\[[\d;]*m", "", shown))


@pytest.fixture(scope="module")
def running(scripted_agent, tmp_path_factory, django_db_blocker):
    with django_db_blocker.unblock():
        database = new_database("sqlite", tmp_path_factory.mktemp("database"))
        with default_database(database):
            seeded_turns()
    settings = {"DATABASE_URL": database, "TRANSCRIPTS": "true", "DRAIN_SECONDS": "0"}
    with processes.gateway("serve", scripted_agent.http_url, **settings) as gateway:
        yield gateway, database


@pytest.fixture
def desk(running):
    return Desk(*running)


async def test_do_answers_flow(desk):
    """Sessions say what runs; the failures, how many turns have ended and how many of them failed."""
    async with desk.open("flowing") as browser:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        assert re.search(r"\d+ sessions?, \d+ active", desk.type("sessions"))
        assert re.search(r"3\d\d turns ended, 4\d failed\.", desk.type("failures"))
        await browser.cancel()
        await browser.frame_of("cancel_ack")


def test_whose_answers_fail_and_why(desk):
    """By user and session; the code, the status of the agent's response, and its words."""
    shown = desk.type("failures")
    for user in UNLUCKY, "user-1@example.org", "user-2@example.org":
        assert re.search(rf"^by user: .*15 {re.escape(user)}", shown, re.MULTILINE)
    for why in f": {OWN_WORDS}", " (HTTP 401): Invalid API key: the key", " (HTTP 500): Traceback: KeyError 'tools'":
        assert f" 15 upstream_error{why}" in shown


async def test_this_one_is_stopped(desk):
    session_id = str(uuid.uuid4())
    async with desk.open(session_id) as browser:
        await browser.say("script:tokens 2000 delay=0.03")
        await browser.frame_of("user_message")
        (found,) = re.findall(r"([\w-]{36}) running", desk.type("sessions"))
        assert found == session_id
        assert "is being stopped" in desk.type("cancel", found)
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"


async def test_all_are_sent_away(desk):
    async with desk.open("away") as browser, desk.open("away") as other:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        assert "away running" in desk.type("sessions")
        assert "Disconnected 2 viewers." in desk.type("disconnect", "away", answer="y")
        for each in (browser, other):
            assert (await each.frame_of("disconnect"))["code"] == "kicked"
        assert "is being stopped" in desk.type("cancel", "away")


def test_what_was_said(desk):
    """Also in a session that is not live any more, and by a user whose turns failed."""
    (session_id,) = re.findall(r"^by session: 15 ([\w-]+),", desk.type("failures"), re.MULTILINE)
    shown = desk.type("turns", session_id)
    questions = [int(number) for number in re.findall(r"> Question (\d+): how do I change the address", shown)]
    assert len(questions) == 15
    assert questions == sorted(questions)
