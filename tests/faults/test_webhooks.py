"""Webhooks of whole gateways over a real store: each end is told at least once, whatever dies, and verified."""

import asyncio
import json
import signal
import threading
import urllib.request
from contextlib import contextmanager

import pytest
from redis import Redis

from relay.layers.redis.keys import Keys, namespace
from relay.layers.values import new_id
from tests import processes
from tests.clients import V1, SocketClient
from tests.faults.conftest import PATIENT
from tests.faults.valkey import Valkey
from tests.processes import KEY
from tests.scraping import scrape
from tests.webhook_receiver import LIMIT_SECONDS, SECRET, Receiver


@pytest.fixture(scope="module")
def valkey():
    with Valkey(persistent=True) as valkey:
        yield valkey


@pytest.fixture
def receiver():
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture
def worker(scripted_agent, valkey, receiver):
    """A function that makes one more worker over the same store."""

    def make(**settings):
        names = {"REDIS_URL": valkey.url, "WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET, "DRAIN_SECONDS": "0"}
        return processes.gateway("serve", scripted_agent.http_url, **PATIENT, **{**names, **settings})

    yield make
    with Redis.from_url(valkey.url) as redis:
        redis.flushdb()


def outboxes(valkey):
    """The two keys of each bucket."""
    return [bucket.outbox.names for bucket in Keys(namespace("relay", valkey.url)).buckets]


def end_leases(valkey):
    """Make everything in the outbox due now, as the passing of time does; no worker may run that takes it meanwhile."""
    with Redis.from_url(valkey.url) as redis:
        for due, _ in outboxes(valkey):
            if names := redis.zrange(due, 0, -1):
                redis.zadd(due, dict.fromkeys(names, 0))


def waiting(valkey):
    """How many notifications are in the outbox?"""
    with Redis.from_url(valkey.url) as redis, redis.pipeline() as transaction:
        for due, notifications in outboxes(valkey):
            transaction.zcard(due).hlen(notifications)
        numbers = transaction.execute()
        assert numbers[::2] == numbers[1::2]
        return sum(numbers[::2])


async def until_empty(valkey):
    async with asyncio.timeout(LIMIT_SECONDS):
        while await asyncio.to_thread(waiting, valkey):
            await asyncio.sleep(0.05)


async def say(gateway, content, session_id, until="accepted"):
    """Send a message, and disconnect at the first frame of a type. Returns the turn's id."""
    async with SocketClient(f"{gateway.ws_url}/ws/{session_id}/", [V1], close_timeout=0.2) as browser:
        await browser.say(content)
        return (await browser.frame_of(until))["turn_id"]


async def ask(gateway, content, session_id):
    """A whole turn, watched. Returns its id."""
    async with SocketClient(f"{gateway.ws_url}/ws/{session_id}/", [V1], close_timeout=0.2) as browser:
        await browser.say(content)
        return (await browser.turn())[-1]["turn_id"]


async def until_unwatched(gateway, session_id):
    """Wait until a session's last viewer is out of the store: a gateway may learn late that it has left."""

    def viewers():
        request = urllib.request.Request(f"{gateway.http_url}/api/v1/sessions", headers={"X-Internal-Auth": KEY})
        with urllib.request.urlopen(request) as response:
            listed = {session["session_id"]: session["viewers"] for session in json.load(response)["sessions"]}
        return listed[session_id]

    async with asyncio.timeout(LIMIT_SECONDS):
        while await asyncio.to_thread(viewers):
            await asyncio.sleep(0.05)


@contextmanager
def killed_by_the_receiver(receiver, gateway, answer):
    """The gateway dies while its webhook is with the receiver, which answers then, or does not."""
    has_died = threading.Event()

    def kill(received):
        if not has_died.is_set():
            gateway.kill()
            has_died.set()
            if answer is None:
                raise OSError
        return answer or 204

    receiver.answer = kill
    yield
    assert has_died.wait(LIMIT_SECONDS)
    receiver.answer = lambda received: 204


async def test_each_end_is_told_with_its_type(worker, receiver, valkey):
    with worker() as gateway:
        session = new_id()
        ends = {
            await ask(gateway, "script:final-token", session): ("turn.completed", None),
            await ask(gateway, "script:finish interrupt", session): ("turn.waiting", None),
            await ask(gateway, "script:status 500", session): ("turn.failed", "upstream_error"),
        }
        await asyncio.to_thread(receiver.wait_for, 3)
        await until_empty(valkey)
    told = {entry.webhook_id: (entry.body["type"], entry.body["data"]["error_code"]) for entry in receiver.received}
    assert told == ends
    assert {entry.body["data"]["session_id"] for entry in receiver.received} == {session}
    assert "script" not in repr(receiver.received)


async def test_two_workers_send_each_once_while_all_is_well(worker, receiver, valkey):
    one, two = worker(), worker()
    with processes.running(one, two):
        turns = [await ask(gateway, "script:final-only", new_id()) for gateway in [one, two] * 5]
        await asyncio.to_thread(receiver.wait_for, 10)
        await until_empty(valkey)
    assert sorted(receiver.ids) == sorted(turns)


async def test_an_unwatched_end_is_told_and_a_watched_one_is_not(worker, receiver, valkey, scripted_agent):
    with worker(WEBHOOK_WHEN="unwatched") as gateway:
        await ask(gateway, "script:final-only", new_id())
        turn_id = await say(gateway, "script:tokens 2 gate=unwatched", "alone")
        await until_unwatched(gateway, "alone")
        with urllib.request.urlopen(f"{scripted_agent.http_url}/open/unwatched"):
            pass
        await asyncio.to_thread(receiver.wait_for, 1)
        await until_empty(valkey)
    assert receiver.ids == [turn_id]


@pytest.mark.parametrize("answer", [None, 204, 500])
async def test_a_worker_killed_while_it_sends_leaves_it_to_the_next(worker, receiver, valkey, answer):
    """Whether or not the receiver has it: the dead worker could not say so."""
    first = worker()
    with first, killed_by_the_receiver(receiver, first, answer):
        turn_id = await say(first, "script:final-only", new_id())
        await asyncio.to_thread(receiver.wait_for, 1)
    assert waiting(valkey) == 1
    end_leases(valkey)
    with worker():
        await asyncio.to_thread(receiver.wait_for, 2)
        await until_empty(valkey)
    assert receiver.ids == [turn_id] * 2


async def test_a_worker_killed_before_it_sends_leaves_it_to_the_next(worker, receiver, valkey):
    """The end is stored; the worker never takes its notification, because its receiver is nowhere."""
    with worker(WEBHOOK_URL="http://127.0.0.1:9/") as first:
        turn_id = await ask(first, "script:final-only", new_id())
        assert waiting(valkey) == 1
        first.kill()
    end_leases(valkey)
    with worker():
        await asyncio.to_thread(receiver.wait_for, 1)
        await until_empty(valkey)
    assert receiver.ids == [turn_id]


async def test_a_worker_killed_within_a_turn_has_its_end_told_by_the_one_that_ends_it(worker, receiver, valkey):
    first, second = worker(), worker()
    with processes.running(first, second):
        turn_id = await say(first, "script:stall", new_id(), until="user_message")
        first.kill()
        await asyncio.to_thread(receiver.wait_for, 1)
        await until_empty(valkey)
    assert receiver.ids == [turn_id]
    assert receiver.received[0].body["data"]["error_code"] == "interrupted"


async def test_a_worker_that_drains_leaves_its_webhooks_to_the_others(worker, receiver, valkey):
    receiver.answer = lambda received: 500
    first = worker()
    with first:
        turn_id = await ask(first, "script:final-only", new_id())
        await asyncio.to_thread(receiver.wait_for, 1)
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        assert "webhooks lost" not in first.output()
    assert waiting(valkey) == 1
    receiver.answer = lambda received: 204
    end_leases(valkey)
    with worker():
        await until_empty(valkey)
    assert set(receiver.ids) == {turn_id}


@pytest.mark.parametrize("is_down", [True, False])
async def test_in_memory_a_drain_tries_once_more_and_says_what_is_lost(worker, receiver, is_down):
    receiver.answer = lambda received: 500
    gateway = worker(REDIS_URL="")
    with gateway:
        turn_id = await ask(gateway, "script:final-only", new_id())
        await asyncio.to_thread(receiver.wait, lambda: turn_id in receiver.ids)
        if not is_down:
            receiver.answer = lambda received: 204
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert ("webhooks lost with this process: 1" in gateway.output()) is is_down
    assert set(receiver.ids) == {turn_id}


async def test_a_deleted_session_tells_nothing_more(worker, receiver, valkey):
    receiver.answer = lambda received: 500
    with worker() as gateway:
        await ask(gateway, "script:final-only", "gone")
        await asyncio.to_thread(receiver.wait_for, 1)
        request = urllib.request.Request(
            f"{gateway.http_url}/api/v1/sessions/gone", method="DELETE", headers={"X-Internal-Auth": KEY}
        )
        with urllib.request.urlopen(request):
            pass
        await until_empty(valkey)
        async with asyncio.timeout(LIMIT_SECONDS):  # the receiver has it before it answers
            while not (await asyncio.to_thread(scrape, gateway.http_url))['gateway_webhooks_total{result="failed"}']:
                await asyncio.sleep(0.05)
