"""The operator's commands before two gateways over one store: each asks the one that has nothing to do with it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager

import pytest
from django.core.management import CommandError, call_command

from tests import processes
from tests.clients import V1, SocketClient
from tests.databases import new_database
from tests.e2e.test_operator_questions import LATE
from tests.faults.valkey import Valkey

LIMIT_SECONDS = 60
RUNNER, ASKED = 0, 1  # the gateway with the sockets; the one that the commands ask


class Cluster:
    def __init__(self, gateways, database):
        self.gateways = gateways
        self.database = database

    def open(self, session_id, gateway=RUNNER):
        return SocketClient(f"{self.gateways[gateway].ws_url}/ws/{session_id}/", [V1])

    def open_plain(self, session_id, gateway=RUNNER):
        return SocketClient(f"{self.gateways[gateway].ws_url}/ws/{session_id}/")

    def start(self, *arguments):
        """Start a command that does not end by itself, and give its process."""
        env = {**os.environ, "GATEWAY__INTERNAL_API_KEY": processes.KEY, "PYTHONUNBUFFERED": "1"}
        env.pop("DJANGO_SETTINGS_MODULE", None)
        command = [sys.executable, "manage.py", *arguments, "--url", self.gateways[ASKED].http_url]
        return subprocess.Popen(
            command, cwd=processes.ROOT, env=env, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *arguments, code=0, url=None):
        """Run a command to its end, in this process, and give what it has printed.

        One that says that the database did not answer, which has a second, is run again.
        """
        url = url or self.gateways[ASKED].http_url
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                output, errors, ended_with = io.StringIO(), io.StringIO(), 0
                try:
                    await asyncio.to_thread(call_command, *arguments, "--url", url, stdout=output, stderr=errors)
                except CommandError as exc:
                    output.write(str(exc))
                    ended_with = exc.returncode
                except SystemExit as exc:
                    ended_with = exc.code
                if LATE not in errors.getvalue():
                    break
        assert ended_with == code, output.getvalue() + errors.getvalue()
        return output.getvalue()

    def transcripts(self, session_id):
        with closing(sqlite3.connect(self.database.removeprefix("sqlite:///"))) as connection:
            query = "SELECT reason FROM relay_turn WHERE session_id = ? ORDER BY id"
            return [reason for (reason,) in connection.execute(query, [session_id])]


@contextmanager
def started(agent, folder):
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey())
        database = new_database("sqlite", folder)
        settings = {"REDIS_URL": valkey.url, "DATABASE_URL": database, "TRANSCRIPTS": "true"}
        gateways = [processes.gateway("serve", agent.http_url, **settings) for _ in range(2)]
        stack.enter_context(processes.running(*gateways))
        yield Cluster(gateways, database)


@pytest.fixture(scope="module")
def cluster(scripted_agent, tmp_path_factory, django_db_blocker):
    with django_db_blocker.unblock(), started(scripted_agent, tmp_path_factory.mktemp("database")) as cluster:
        yield cluster


@pytest.fixture
def short_lived(scripted_agent, tmp_path, django_db_blocker):
    """Gateways on a store of their own, for a test that ends them."""
    with django_db_blocker.unblock(), started(scripted_agent, tmp_path) as cluster:
        yield cluster


async def until(condition):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


async def test_sessions_are_listed_with_what_they_do(cluster):
    async with cluster.open("list-busy") as busy, cluster.open("list-idle") as idle:
        await idle.ask("x")
        await busy.say("script:stall")
        await busy.frame_of("user_message")
        await busy.say("next")
        await busy.frame_of("accepted")
        sessions = {row["session_id"]: row for row in json.loads(await cluster.run("sessions", "--json"))}
        busy_row, idle_row = sessions["list-busy"], sessions["list-idle"]
        assert busy_row["active"]["status"] == "running"
        assert (len(busy_row["queued"]), busy_row["viewers"]) == (1, 1)
        assert (idle_row["active"], idle_row["queued"], idle_row["viewers"]) == (None, [], 1)
        assert 0 <= idle_row["idle_seconds"] <= idle_row["age_seconds"]
        rows = [line.split("\t") for line in (await cluster.run("sessions")).splitlines()]
        assert rows[0][:4] == ["session", "state", "queue", "viewers"]
        names = [row[0] for row in rows]
        assert names.index("list-busy") < names.index("list-idle")
        assert rows[names.index("list-busy")][1:4] == ["running", "1", "1"]
        await busy.cancel()
        await busy.frame_of("cancel_ack")


async def test_watching_sessions_shows_what_changes(cluster):
    watching = cluster.start("sessions", "--watch", "--json")
    try:
        async with cluster.open("watch") as browser:
            await browser.say("script:tokens 2000 delay=0.03")
            offsets = set()
            async with asyncio.timeout(LIMIT_SECONDS):
                while len(offsets) < 3:
                    seen = json.loads(await asyncio.to_thread(watching.stdout.readline))
                    offsets |= {row["offset"] for row in seen if row["session_id"] == "watch"}
            await browser.cancel()
            await browser.frame_of("cancel_ack")
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=LIMIT_SECONDS)
    assert watching.returncode == 0


async def test_tail_shows_frames_as_they_come_and_ends_with_the_session(cluster):
    async with cluster.open("tail") as browser:
        await browser.ask("first")
        tailing = cluster.start("tail", "tail", "--all")
        seen = [json.loads(await asyncio.to_thread(tailing.stdout.readline))]
        assert seen[0]["type"] == "welcome"
        await browser.say("second")
        while len([frame for frame in seen if frame.get("is_final")]) < 2:
            seen.append(json.loads(await asyncio.to_thread(tailing.stdout.readline)))
        assert [frame["content"] for frame in seen if frame["type"] == "user_message"] == ["first", "second"]
        assert [frame["offset"] for frame in seen[1:]] == list(range(1, len(seen)))
        await cluster.run("drop", "tail")
        _, errors = await asyncio.to_thread(tailing.communicate, timeout=LIMIT_SECONDS)
        assert tailing.returncode == 1
        assert "was deleted" in errors


async def test_tail_of_a_session_that_is_not_there_starts_none(cluster):
    assert await cluster.run("tail", "ghost", code=1) == "There is no session ghost."
    assert "ghost" not in await cluster.run("sessions", "--json")


async def test_cancel_stops_the_answer_on_another_gateway(cluster):
    async with cluster.open("cancel") as browser:
        await browser.say("script:stall")
        turn_id = (await browser.frame_of("user_message"))["turn_id"]
        assert "is being stopped" in await cluster.run("cancel", "cancel")
        assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        assert "has already ended" in await cluster.run("cancel", "cancel", "--turn", turn_id, code=1)
        assert "nothing to stop" in await cluster.run("cancel", "cancel", code=1)


async def test_cancel_of_all_removes_what_is_queued_too(cluster):
    async with cluster.open("cancel-all") as browser:
        await browser.say("script:stall")
        await browser.frame_of("user_message")
        for words in "one", "two":
            await browser.say(words)
            await browser.frame_of("accepted")
        shown = await cluster.run("cancel", "cancel-all", "--all")
        assert shown.startswith("Removed 2 queued messages.\nTurn ")
        for _ in range(3):
            assert (await browser.turn())[-1]["finish_reason"] == "cancelled"
        assert "nothing to stop" in await cluster.run("cancel", "cancel-all", "--all", code=1)


@pytest.mark.parametrize(
    "arguments",
    [["cancel"], ["cancel", "--json"], ["tail"], ["turns"], ["disconnect"], ["notice", "Hello.", "--session"]],
)
async def test_session_that_does_not_exist_is_named(cluster, arguments):
    assert await cluster.run(*arguments, "nosuch", code=1) == "There is no session nosuch."
    assert "There is no session" in await cluster.run("drop", "nosuch", "--yes", code=1)  # none came to be


async def test_turns_are_printed_from_the_log_and_from_the_transcripts(cluster):
    async with cluster.open("said") as browser:
        for words in "first", "second":
            await browser.ask(words)
        turns = [json.loads(line) for line in (await cluster.run("turns", "said")).splitlines()]
        assert [(turn["message"], turn["answer"]) for turn in turns] == [("first", "first"), ("second", "second")]
        (newest,) = (await cluster.run("turns", "said", "--limit", "1", "--json")).splitlines()
        assert json.loads(newest)["message"] == "second"


async def test_drop_erases_log_and_transcripts_and_tells_viewers(cluster):
    async with cluster.open("drop") as browser:
        await browser.ask("x")
        await until(lambda: cluster.transcripts("drop") == ["answered"])
        assert "is erased" in await cluster.run("drop", "drop")
        assert (await browser.frame_of("disconnect"))["code"] == "session_deleted"
    await until(lambda: cluster.transcripts("drop") == [])
    assert "There is no session" in await cluster.run("drop", "drop", code=1)


async def test_notice_reaches_clients_of_every_gateway(cluster):
    async with cluster.open("here", ASKED) as here, cluster.open("there", RUNNER) as there:
        assert await cluster.run("notice", "We restart at six.") == "Sent.\n"
        for browser in (here, there):
            assert (await browser.frame_of("notice"))["content"] == "We restart at six."
        assert await there.ask("hello") == "hello"
        await cluster.run("notice", "Only you.", "--session", "there")
        assert (await there.frame_of("notice"))["content"] == "Only you."
        assert await here.ask("x") == "x"


async def test_viewers_on_another_gateway_are_sent_away(cluster):
    async with cluster.open("kick") as browser, cluster.open_plain("kick") as plain:
        await browser.frame_of("welcome")
        assert await cluster.run("disconnect", "kick") == "Disconnected 2 viewers.\n"
        assert (await browser.frame_of("disconnect"))["code"] == "kicked"
        assert [await browser.close_code(), await plain.close_code()] == [4403, 4403]


async def test_ticket_is_alone_on_its_line_for_scripts(cluster):
    [ticket] = (await cluster.run("ticket", "s", "--subject", "ann")).split()
    assert ticket
    assert json.loads(await cluster.run("ticket", "s", "--seconds", "7", "--json"))["expires_in"] == 7


@pytest.mark.parametrize(
    ("arguments", "key", "code", "words"),
    [
        (["cancel", ".."], processes.KEY, 1, "a session id has"),
        (["cancel"], processes.KEY, 1, "required"),
        (["notice", " "], processes.KEY, 1, "the notice is empty"),
        (["sessions"], "wrong", 1, "here differs from the gateway's"),
    ],
)
async def test_what_goes_wrong_is_said(cluster, settings, arguments, key, code, words):
    settings.GATEWAY = {**settings.GATEWAY, "INTERNAL_API_KEY": key}
    assert words in await cluster.run(*arguments, code=code)


@pytest.mark.parametrize("arguments", [["sessions"], ["tail", "s"]])
async def test_gateway_that_is_not_there_is_said_with_a_code_of_its_own(cluster, scripted_agent, arguments):
    assert "Is it running?" in await cluster.run(*arguments, code=3, url="http://127.0.0.1:1")
    assert "is not a gateway (HTTP 404)" in await cluster.run(*arguments, code=3, url=scripted_agent.http_url)


async def test_gateway_of_another_name_says_so(scripted_agent, settings):
    settings.GATEWAY = {**settings.GATEWAY, "INTERNAL_API_KEY": processes.KEY}
    with (
        processes.gateway("serve", scripted_agent.http_url, ALLOWED_HOSTS="chat.example") as gateway,
        pytest.raises(
            CommandError, match=r"does not accept the host name 127\.0\.0\.1: add it to its GATEWAY__ALLOWED_HOSTS"
        ),
    ):
        await asyncio.to_thread(call_command, "sessions", url=gateway.http_url)


@pytest.mark.parametrize(
    ("arguments", "key", "code"),
    [
        (["cancel"], "k", 2),
        (["cancel", "s", "--url", "127.0.0.1:1"], "k", 2),
        (["cancel", "s"], "", 2),
        (["cancel", "s", "--url", "http://127.0.0.1:1"], "k", 3),
    ],
)
def test_commands_end_with_their_codes(arguments, key, code):
    """As processes: 2 for wrong usage is argparse's own, 3 for nobody there is ours."""
    done = processes.manage(*arguments, GATEWAY__INTERNAL_API_KEY=key)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_variable_names_the_gateway(cluster):
    env = {"GATEWAY_URL": cluster.gateways[ASKED].ws_url, "GATEWAY__INTERNAL_API_KEY": processes.KEY}
    listed = processes.run(["manage.py", "sessions", "--json"], **env)
    assert isinstance(json.loads(listed.stdout), list)
    refused = processes.run(["manage.py", "sessions"], GATEWAY_URL="127.0.0.1:8000")
    assert refused.returncode == 2
    assert "GATEWAY_URL" in refused.stdout


@pytest.mark.parametrize("arguments", ["sessions --json", "sessions --watch --json"])
def test_reader_that_leaves_ends_the_command_quietly(cluster, arguments):
    """As ``manage.py sessions --watch | head -1`` does; the shell gives 141 for SIGPIPE."""
    env = processes.environment(GATEWAY_URL=cluster.gateways[ASKED].http_url, GATEWAY__INTERNAL_API_KEY=processes.KEY)
    command = [sys.executable, "manage.py", *arguments.split()]
    with subprocess.Popen(command, cwd=processes.ROOT, env=env, text=True, stdout=-1, stderr=-1) as running:
        running.stdout.close()
        _, errors = running.stderr, running.stderr.read()
    assert (running.returncode, errors) == (128 + signal.SIGPIPE, "")


async def test_drain_ends_one_gateway_and_then_every_other(short_lived):
    cluster = short_lived
    asked, other = cluster.gateways[ASKED], cluster.gateways[RUNNER]
    async with cluster.open("drained", ASKED) as browser, cluster.open("stays", RUNNER) as staying:
        await browser.frame_of("welcome")
        assert await cluster.run("drain") == "Draining.\n"
        assert (await browser.frame_of("disconnect"))["code"] == "server_restart"
        assert await asyncio.to_thread(asked.wait) == 0
        assert await staying.ask("still here") == "still here"
        await cluster.run("drain", "--everywhere", url=other.http_url)
        assert (await staying.frame_of("disconnect"))["code"] == "server_restart"
    assert await asyncio.to_thread(other.wait) == 0
