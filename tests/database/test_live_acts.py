"""What operators do to live sessions is written down, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import msgspec
import pytest
from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient

from relay.admin import live
from relay.delivery import timeouts
from relay.process import lifecycle
from relay.testing.turns import answer, enqueue, start

LIMIT_SECONDS = 60
STOP = "/admin/relay/livesession/session/s/act/stop"
UNCERTAIN = "Asked to stop it; the store did not answer, so it may or may not have been done."


class SlowStore:
    """A gateway whose store does nothing before it is told to."""

    def __init__(self):
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def stop(self, gateway, session_id):
        self.is_asked.set()
        await self.may_answer.wait()
        return "Stopped turn t."


@pytest.fixture
def store(database, settings, monkeypatch):
    settings.ROOT_URLCONF = "tests.admin_urls"
    settings.GATEWAY = {**settings.GATEWAY, "ADMIN": "true", "TRANSCRIPTS": "false"}
    channel_layers.backends = {}
    store = SlowStore()
    monkeypatch.setitem(live.ACTIONS, "stop", store.stop)
    yield store
    channel_layers.backends = {}


@pytest.fixture
def operator(store):
    user = User.objects.create_user("ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_livesession", "act_on_livesession")))
    client = AsyncClient()
    client.force_login(user)
    return client


def run(scenario):
    """Run a coroutine function beside a gateway; what asks the database runs in this thread, which has the test's."""

    async def in_order():
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await scenario()
        finally:
            await lifecycle.stop()

    async_to_sync(in_order)()


def written_down():
    return [(entry.user.username, entry.change_message) for entry in LogEntry.objects.all()]


def test_who_leaves_at_once_is_written_down_when_it_is_done(operator, store):
    async def scenario():
        asking = asyncio.create_task(operator.post(STOP))
        await store.is_asked.wait()
        asking.cancel()  # as Django does when the browser has gone
        store.may_answer.set()
        await asyncio.wait([asking])
        assert asking.cancelled()

    run(scenario)
    assert written_down() == [("ann", "Stopped turn t.")]


def test_what_may_have_been_done_is_written_down_as_such(operator, store, monkeypatch):
    monkeypatch.setattr(timeouts, "STORE_SECONDS", 0.01)

    async def scenario():
        answer = await operator.post(STOP)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")

    run(scenario)
    assert written_down() == [("ann", UNCERTAIN)]


def test_looking_at_a_mistyped_name_starts_no_session(operator, store):
    async def scenario():
        address = "/admin/relay/livesession/session/nope"
        layer = (await lifecycle.current()).layer
        assert (await operator.get(f"{address}/")).status_code == 200
        watching = await operator.get(f"{address}/events")
        chunks = aiter(watching.streaming_content)
        assert b"welcome" in await anext(chunks)
        assert (await operator.get(f"{address}/data")).json() == {"session": None}
        assert (await operator.get("/admin/relay/livesession/data")).json()["sessions"] == []
        assert (await layer.get("nope")).is_empty, "it ends with its viewer"

    run(scenario)


def test_list_has_sessions_with_work_first_and_says_what_is_missing(operator, store, monkeypatch):
    """Of more sessions than the page shows, too."""
    monkeypatch.setattr(live, "MAX_SESSIONS", 3)

    async def scenario():
        gateway = await lifecycle.current()
        await gateway.sweeper.stop()  # which would run what waits here
        layer = gateway.layer
        for session_id in ("a", "b", "c", "runs"):
            await answer(layer, session_id=session_id)
        await enqueue(layer, session_id="a")
        await start(layer, session_id="runs")
        found = (await operator.get("/admin/relay/livesession/data")).json()
        assert [session["session_id"] for session in found["sessions"]] == ["runs", "a", "c"]
        assert (found["is_all"], found["warning"]) == (False, "")
        page = msgspec.structs.replace(await layer.busiest(3), nodes=3, silent_nodes=2)
        monkeypatch.setattr(layer, "busiest", AsyncMock(return_value=page))
        warning = (await operator.get("/admin/relay/livesession/data")).json()["warning"]
        assert warning == "2 of 3 nodes of the store did not answer: sessions are missing."

    run(scenario)
