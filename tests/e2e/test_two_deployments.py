"""Two deployments on one server, told apart by database number or by prefix: neither hears the other.

Both have the same session ids. Redis hands out what is published in order, so once the second deployment has heard
its own order, it would have heard the first one's before.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import urllib.request
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests import processes
from tests.clients import V1, SocketClient
from tests.databases import new_database
from tests.faults.valkey import Valkey
from tests.scraping import assert_nothing_wrong

S = "the-same"
LIMIT_SECONDS = 60
SEPARATED_BY = {
    "database": [{"REDIS_URL": "{server}/0"}, {"REDIS_URL": "{server}/1"}],
    "database in the query": [{"REDIS_URL": "{server}?db=2"}, {"REDIS_URL": "{server}?db=3"}],
    "prefix": [{"REDIS_URL": "{server}/0"}, {"REDIS_URL": "{server}/0", "REDIS_PREFIX": "other"}],
}


class Deployment:
    """One gateway with its own database for transcripts."""

    def __init__(self, gateway: processes.Process, database: str) -> None:
        self.gateway = gateway
        self._database = database.removeprefix("sqlite:///")

    def open(self) -> SocketClient:
        return SocketClient(f"{self.gateway.ws_url}/ws/{S}/", [V1])

    async def ask_rest(self, method: str, path: str, **body: object) -> None:
        request = urllib.request.Request(
            f"{self.gateway.http_url}/api/v1/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"X-Internal-Auth": processes.KEY, "Content-Type": "application/json"},
        )
        with await asyncio.to_thread(urllib.request.urlopen, request):
            pass

    def transcripts(self) -> list[str]:
        with closing(sqlite3.connect(self._database)) as connection:
            return [reason for (reason,) in connection.execute("SELECT reason FROM relay_turn")]

    async def has_transcripts(self, reasons: list[str]) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.transcripts() != reasons:
                await asyncio.sleep(0.02)


@contextmanager
def separated(by: str, agent: processes.Process, folder):
    with ExitStack() as stack:
        server = stack.enter_context(Valkey()).url.removesuffix("/0")
        deployments = []
        for name, settings in zip("ab", SEPARATED_BY[by], strict=True):
            (folder / name).mkdir()
            database = new_database("sqlite", folder / name)
            texts = {setting: text.format(server=server) for setting, text in settings.items()}
            gateway = processes.gateway("serve", agent.http_url, **texts, DATABASE_URL=database, TRANSCRIPTS="true")
            deployments.append(Deployment(stack.enter_context(gateway), database))
        yield deployments
        for deployment in deployments:
            assert "Traceback" not in deployment.gateway.output()


@pytest.fixture(params=SEPARATED_BY)
def deployments(request, scripted_agent, tmp_path, django_db_blocker):
    with django_db_blocker.unblock(), separated(request.param, scripted_agent, tmp_path) as deployments:
        yield deployments


async def test_nothing_crosses_from_one_deployment_into_the_other(deployments):
    one, other = deployments
    async with one.open() as guest, other.open() as host:
        await host.frame_of("welcome")
        await guest.frame_of("welcome")

        # Tokens: both answer at once, at the same offsets.
        await asyncio.gather(
            guest.say("script:distinct 20 one delay=0.01"), host.say("script:distinct 20 host delay=0.01")
        )
        answers = await asyncio.gather(guest.answer(), host.answer())
        assert answers == [" ".join(f"{name}-{n}" for n in range(20)) + " " for name in ("one", "host")]
        for deployment in deployments:
            assert_nothing_wrong(deployment.gateway)
            await deployment.has_transcripts(["answered"])

        # A notice.
        await one.ask_rest("POST", "notice", content="to the guests")
        await other.ask_rest("POST", "notice", content="to the hosts")
        assert (await guest.frame_of("notice"))["content"] == "to the guests"
        assert (await host.frame_of("notice"))["content"] == "to the hosts"

        # A kick.
        await one.ask_rest("DELETE", f"sessions/{S}/viewers")
        assert (await guest.frame_of("disconnect"))["code"] == "kicked"
        await hears_only_its_own(other, host, "after the kick")

        # A cancel, of whatever runs.
        await host.say("script:stall")
        while not (await host.frame_of("assistant_message"))["token"]:
            pass  # the agent has said its only word
        await one.ask_rest("POST", f"sessions/{S}/cancel")
        await hears_only_its_own(other, host, "after the cancel")
        await other.ask_rest("POST", f"sessions/{S}/cancel")
        assert (await host.turn())[-1]["finish_reason"] == "cancelled"

        # The erasure of log and transcripts.
        await one.ask_rest("DELETE", f"sessions/{S}")
        await one.has_transcripts([])
        await hears_only_its_own(other, host, "after the erasure")
        await other.has_transcripts(["answered", "cancelled"])

        # A drain of every process.
        await one.ask_rest("POST", "drain", everywhere=True)
        assert await asyncio.to_thread(one.gateway.wait) == 0
        await hears_only_its_own(other, host, "after the drain")
        assert await host.ask("script:distinct 2 end") == "end-0 end-1 "


async def hears_only_its_own(deployment, browser, content):
    """Send a notice; until its viewer gets it, nothing else happens to the viewer and its turn."""
    await deployment.ask_rest("POST", "notice", content=content)
    while (frame := await browser.frame())["type"] != "notice":
        assert frame["type"] in ("ping", "accepted"), frame
    assert frame["content"] == content
