"""Transcripts as real gateways write them: at once, at their end, and in the place of one that died."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from contextlib import ExitStack

import psycopg
import pytest

from tests import processes
from tests.clients import V1, SocketClient, text_of
from tests.databases import new_database
from tests.faults.valkey import Valkey

LIMIT_SECONDS = 60
FRAMES = 4  # of a turn of one word: the message, an empty token, the word, the end
QUERY = "SELECT reason, message, answer, tokens FROM relay_turn WHERE session_id = 's' ORDER BY id"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path, django_db_blocker):
    with django_db_blocker.unblock():
        return new_database(request.param, tmp_path)


def rows(database):
    if database.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as connection:
            return connection.execute(QUERY).fetchall()
    with psycopg.connect(database) as connection:
        return connection.execute(QUERY).fetchall()


async def rows_of(database, count):
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(found := await asyncio.to_thread(rows, database)) < count:
            await asyncio.sleep(0.05)
    return found


def gateway(agent, database, **settings):
    return processes.gateway("serve", agent.http_url, DATABASE_URL=database, TRANSCRIPTS="true", **settings)


def open_socket(service):
    return SocketClient(f"{service.ws_url}/ws/s/", [V1])


async def test_turns_that_end_with_the_process_are_written(scripted_agent, database):
    with gateway(scripted_agent, database, DRAIN_SECONDS="1") as service:
        async with open_socket(service) as browser:
            await browser.ask("first")
            await browser.say("script:stall")
            await browser.frame_of("assistant_message")
            assert await asyncio.to_thread(service.stop) == 0
    assert rows(database) == [
        ("answered", "first", "first", 1),
        ("shutting_down", "script:stall", "a ", 1),
    ]


async def test_turn_of_a_killed_worker_is_written_by_another_with_its_text(scripted_agent, database):
    with ExitStack() as stack:
        # Short, for it is waited for; but the worker must not lose its turn because it stood still before it is killed.
        settings = {"REDIS_URL": stack.enter_context(Valkey()).url, "LEASE_SECONDS": "8"}
        runner, other = (gateway(scripted_agent, database, **settings) for _ in range(2))
        question = f"script:tokens 500 gate={runner.port}"
        stack.enter_context(processes.running(runner, other))
        async with open_socket(other) as watching, open_socket(runner) as asking:
            await asking.say(question)
            seen = []
            while len(text_of(seen)) < 10:
                seen.append(await watching.frame())
            runner.kill()
            seen += await watching.turn()
        [(reason, message, answer, tokens)] = await rows_of(database, 1)
    assert (reason, message, tokens) == ("interrupted", question, None)
    assert answer == text_of(seen)


async def test_gateway_before_its_database_is_migrated_answers_and_says_what_to_do(scripted_agent, tmp_path):
    with gateway(scripted_agent, f"sqlite:///{tmp_path}/new.sqlite3") as service:
        async with open_socket(service) as browser:
            assert await browser.ask("hello") == "hello"
        async with asyncio.timeout(LIMIT_SECONDS):  # it is the writer's word, which the answer does not wait for
            while "manage.py migrate" not in service.output():
                await asyncio.sleep(0.05)


async def all_messages(browser, limit):
    """The messages of every turn, page by page over the socket, the oldest first."""
    found, before = [], ""
    while before is not None:
        await browser.send({"type": "history", "before": before, "limit": limit})
        page = await browser.frame_of("history")
        if page["incomplete"]:  # the database has a second; such a page is asked for again
            continue
        found += [turn["message"] for turn in page["turns"]]
        before = page["next"]
    return found[::-1]


@pytest.mark.parametrize("store", ["memory", "redis"])
async def test_a_conversation_is_whole_after_restarts_by_log_and_by_page(scripted_agent, database, store):
    """The gateway's process ends twice; with the memory layer the log is gone each time."""
    with ExitStack() as stack:
        settings = {"REDIS_URL": stack.enter_context(Valkey()).url} if store == "redis" else {}
        said = []
        for _ in range(3):
            with gateway(scripted_agent, database, **settings) as service:
                async with open_socket(service) as browser:
                    welcome = await browser.frame_of("welcome")
                    assert welcome["history"] is True
                    for _ in range(3):
                        said.append(f"message-{len(said)}")
                        await browser.ask(said[-1])
                    async with asyncio.timeout(LIMIT_SECONDS):
                        assert await all_messages(browser, 2) == said
                async with SocketClient(f"{service.ws_url}/ws/s/?offset=0", [V1]) as reloaded:
                    live = (await reloaded.frame_of("welcome"))["offset"]
                    assert live == FRAMES * (3 if store == "memory" else len(said))
                assert await asyncio.to_thread(service.stop) == 0
