"""Answers do not notice what the database does: slow, locked or gone, a thousand turns come as without it.

``python -m tests.faults.test_database`` measures the time to the first token in each case, and prints it.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import processes
from tests.clients import V1, SocketClient
from tests.databases import PostgreSQL, new_database, postgresql
from tests.scraping import scrape

SESSIONS = 20  # at once
ROUNDS = 10  # of the measurement, so that what else the machine does falls on all cases alike
CASES = ("healthy", "slow", "locked", "gone")
SLOW = """
    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON relay_turn FOR EACH STATEMENT EXECUTE FUNCTION be_slow();
"""


@contextmanager
def database(case: str, folder: Path) -> Iterator[str]:
    """A database in that state, by its address."""
    if case == "slow":
        url = new_database("postgresql", folder)
        postgresql().execute(SLOW, url.rpartition("/")[2])
        yield url
    elif case == "gone":
        server = PostgreSQL()
        yield server.url("nothing")  # nobody listens there
        server.close()
    else:
        url = new_database("sqlite", folder)
        other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        if case == "locked":
            other.execute("BEGIN IMMEDIATE")
        yield url
        other.close()


async def ask(url: str, session_id: str, turns: int) -> list[float]:
    """Ask again and again, check each answer, and give the seconds to each first token."""
    seconds = []
    async with SocketClient(f"{url}/ws/{session_id}/", [V1]) as browser:
        await browser.frame_of("welcome")
        for number in range(turns):
            asked_at = time.perf_counter()
            await browser.say(f"words {number}")
            first = await browser.frame_of("assistant_message")
            seconds.append(time.perf_counter() - asked_at)
            rest = await browser.turn()
            assert first["token"] + "".join(frame["token"] for frame in rest) == f"words {number}"
            assert rest[-1]["finish_reason"] == "stop"
    return seconds


async def ask_all(url: str, turns: int) -> list[float]:
    """Ask in many sessions at once, so many turns together."""
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask(url, f"s-{number}", turns // SESSIONS)) for number in range(SESSIONS)]
    return sorted(seconds for task in asking for seconds in task.result())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("turns", [200, pytest.param(1_000, marks=pytest.mark.soak)])
def test_answers_are_the_same_whatever_the_database_does(case, turns, scripted_agent, tmp_path, django_db_blocker):
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        url = stack.enter_context(database(case, tmp_path))
        settings = {"DATABASE_URL": url, "TRANSCRIPTS": "true"}
        gateway = stack.enter_context(processes.gateway("serve", scripted_agent.http_url, **settings))
        assert len(asyncio.run(ask_all(gateway.ws_url, turns))) == turns
        told = scrape(gateway.http_url)
        assert told['gateway_turns_total{reason="answered"}'] == turns
        assert gateway.stop() == 0
    if case == "healthy":
        assert told["gateway_transcripts_dropped_total"] == 0


def main() -> None:
    """Measure each case beside a gateway that keeps no transcripts: some turns each, round and round."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    cases = ("off", *CASES)
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    with ExitStack() as stack:
        agent = stack.enter_context(processes.agent("scripted"))
        gateways = {case: stack.enter_context(_gateway(case, agent)) for case in cases}
        for gateway in gateways.values():
            asyncio.run(ask_all(gateway.ws_url, 100))  # warms up
        before = {case: _cpu_seconds(gateway.pid) for case, gateway in gateways.items()}
        for _ in range(ROUNDS):
            for case in random.sample(cases, len(cases)):
                seconds[case] += asyncio.run(ask_all(gateways[case].ws_url, 1_000 // ROUNDS))
        for case, gateway in gateways.items():
            *_, median, worst = (cut * 1000 for cut in statistics.quantiles(seconds[case], n=100)[49::49])
            cpu_ms = (_cpu_seconds(gateway.pid) - before[case]) * 1000 / len(seconds[case])
            print(f"{case:8} first token p50 {median:6.1f} ms, p99 {worst:6.1f} ms; {cpu_ms:.2f} ms CPU a turn")


@contextmanager
def _gateway(case: str, agent: processes.Process) -> Iterator[processes.Process]:
    with ExitStack() as stack:
        settings = {"TRANSCRIPTS": "false"}
        if case != "off":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings = {"DATABASE_URL": stack.enter_context(database(case, folder)), "TRANSCRIPTS": "true"}
        yield stack.enter_context(processes.gateway("serve", agent.http_url, **settings))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
