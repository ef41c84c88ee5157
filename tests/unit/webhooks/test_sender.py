"""The sender before a real receiver that is down, slow, wrong, and well again."""

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

import pytest

from relay.layers.memory.outbox import MemoryOutbox
from relay.layers.values import NewNotification
from relay.observability import metrics
from relay.testing.clock import Clock
from relay.webhooks import sender
from relay.webhooks.sender import Webhooks
from tests.certificates import certificate
from tests.processes import free_port
from tests.tcp_server import TcpServer
from tests.webhook_receiver import LIMIT_SECONDS, SECRET, Receiver

BODY = '{"type":"turn.completed","timestamp":"2026-01-01T00:00:00Z","data":{}}'


@pytest.fixture
def receiver():
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outbox(clock):
    return MemoryOutbox(clock)


@pytest.fixture(autouse=True)
def at_once(monkeypatch, caplog):
    """No test waits for a look or a pause."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sender, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(sender, "_pause_seconds", lambda age_seconds: 0.0)


@pytest.fixture
async def webhooks(settings, receiver, outbox):
    async with running(settings, receiver.url, outbox) as webhooks:
        yield webhooks


def started(settings, url, outbox, *, survives_process=True):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET}
    webhooks = Webhooks(outbox, survives_process=survives_process)
    webhooks.start()
    return webhooks


@asynccontextmanager
async def running(settings, url, outbox):
    """A sender that is stopped at the end."""
    webhooks = started(settings, url, outbox)
    yield webhooks
    await webhooks.stop()


def put(outbox, *turn_ids):
    for turn_id in turn_ids:
        outbox.put(turn_id, "s", NewNotification(text=BODY, cancelled_text=""), is_cancelled=False)


def counted(result):
    return metrics.WEBHOOKS.labels(result)._value.get()


async def until(condition):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("relay")]


async def test_a_notification_is_sent_once_signed_and_under_its_turns_id(webhooks, receiver, outbox):
    before = counted("delivered")
    put(outbox, "one", "two")
    webhooks.wake("s")
    await until(lambda: counted("delivered") == before + 2)
    assert sorted(receiver.ids) == ["one", "two"]
    assert not receiver.forged
    assert receiver.received[0].path == "/hooks?from=gateway"
    assert not outbox._entries


async def test_more_than_a_batch_is_sent_too(webhooks, receiver, outbox):
    names = [f"turn-{number}" for number in range(3 * sender.BATCH + 1)]
    put(outbox, *names)
    await until(lambda: not outbox._entries)
    assert sorted(receiver.ids) == sorted(names)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 429, 500, 503])
async def test_any_status_but_2xx_is_a_failure_and_tried_again(webhooks, receiver, outbox, status, caplog):
    before = counted("failed")
    receiver.answer = lambda received: status if len(receiver.received) < 4 else 200
    put(outbox, "turn")
    await until(lambda: not outbox._entries)
    assert receiver.ids == ["turn"] * 4  # and no request went where a redirect leads
    assert counted("failed") == before + 3
    assert lines(caplog) == [
        f"webhook not delivered, tried again later: it answers {status}",
        "webhooks delivered again",
    ]
    assert [record.host for record in caplog.records if record.name.startswith("relay")] == ["127.0.0.1"] * 2


async def test_a_receiver_that_is_down_gets_it_when_it_is_back(settings, outbox, caplog):
    async with running(settings, f"http://127.0.0.1:{free_port()}/hooks", outbox):
        before = counted("failed")
        put(outbox, "turn")
        await until(lambda: counted("failed") >= before + 3)
        assert lines(caplog) == [
            "webhook not delivered, tried again later: it cannot be reached: the connection is refused"
        ]
        back = Receiver()
        settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_URL": back.url}
        with back.running():
            await until(lambda: not outbox._entries)
        assert back.ids == ["turn"]


async def test_the_cause_in_tls_or_dns_is_told(settings, outbox, caplog, tmp_path):
    tls = certificate(tmp_path / "receiver.pem")
    async with TcpServer(tls=tls) as server:
        for url, cause in [
            (f"https://localhost:{server.port}", "its certificate is self-signed, which is not trusted here"),
            ("https://nowhere.invalid", "its name is not known to DNS"),
        ]:
            async with running(settings, url, outbox):
                put(outbox, "turn")
                wanted = f"webhook not delivered, tried again later: it cannot be reached: {cause}"
                await until(lambda wanted=wanted: wanted in lines(caplog))


async def test_a_receiver_that_breaks_off_gets_it_again(webhooks, receiver, outbox):
    def break_off(received):
        if len(receiver.received) < 3:
            raise OSError
        return 200

    receiver.answer = break_off
    put(outbox, "turn")
    await until(lambda: not outbox._entries)
    assert receiver.ids == ["turn"] * 3


async def test_a_receiver_that_does_not_answer_is_given_up_and_delays_no_more_than_its_batch(
    webhooks, receiver, outbox, monkeypatch, caplog
):
    monkeypatch.setattr(sender, "SEND_SECONDS", 0.3)
    release = threading.Event()
    receiver.answer = lambda received: release.wait(LIMIT_SECONDS) and 200
    put(outbox, "turn")
    await until(lambda: "webhook not delivered, tried again later: it does not answer in time" in lines(caplog))
    monkeypatch.setattr(sender, "SEND_SECONDS", LIMIT_SECONDS)
    release.set()
    await until(lambda: not outbox._entries)
    assert len(receiver.ids) >= 2


async def test_after_a_day_it_is_given_up(webhooks, receiver, outbox, clock, caplog):
    before = counted("expired")
    receiver.answer = lambda received: 500
    put(outbox, "turn")
    await asyncio.to_thread(receiver.wait_for, 2)
    assert counted("expired") == before
    clock.now += sender.DAY_SECONDS
    await until(lambda: counted("expired") == before + 1)
    assert not outbox._entries
    assert "webhook given up: the receiver did not accept it within a day" in lines(caplog)


async def test_pauses_grow_with_the_age_and_are_random_in_full(monkeypatch):
    monkeypatch.undo()
    for age, longest in [(0, 5), (3, 5), (100, 100), (3_600, 3_600), (80_000, 3_600)]:
        pauses = [sender._pause_seconds(age) for _ in range(2_000)]
        assert 0 <= min(pauses) < longest * 0.1
        assert longest * 0.9 < max(pauses) <= longest


async def test_an_error_of_the_outbox_ends_nothing(webhooks, receiver, outbox, monkeypatch, caplog):
    failures = [RuntimeError("a bug")]
    take = outbox.take

    async def failing(*args, **options):
        if failures:
            raise failures.pop()
        return await take(*args, **options)

    monkeypatch.setattr(outbox, "take", failing)
    put(outbox, "turn")
    await until(lambda: not outbox._entries)
    assert lines(caplog) == ["webhooks failed; the next look follows"]


async def test_without_an_address_nothing_is_started(settings, outbox):
    settings.GATEWAY = {**settings.GATEWAY, "WEBHOOK_URL": ""}
    webhooks = Webhooks(outbox, survives_process=False)
    webhooks.start()
    assert not webhooks.is_on
    assert not webhooks._task.is_running
    await webhooks.flush(1)
    await webhooks.stop()


async def test_in_memory_the_end_tries_each_once_more_and_says_what_is_lost(settings, receiver, outbox, caplog):
    """Also those that were postponed."""
    receiver.answer = lambda received: 500 if received.webhook_id.startswith("bad") else 204
    before = counted("lost")
    webhooks = started(settings, receiver.url, outbox, survives_process=False)
    await webhooks._task.stop()
    put(outbox, "good", "bad", "postponed", "bad too")
    (postponed,) = [entry for entry in await outbox.take(4, 0) if entry.turn_id == "postponed"]
    await outbox.postpone(postponed, 3_000)
    await webhooks.flush(LIMIT_SECONDS)
    assert sorted(receiver.ids) == ["bad", "bad too", "good", "postponed"]
    put(outbox, "last")
    await webhooks.stop()
    assert sorted(receiver.ids) == ["bad", "bad too", "good", "last", "postponed"]
    assert counted("lost") == before + 2
    assert lines(caplog)[-1] == "webhooks lost with this process: 2"


async def test_a_stop_with_other_processes_leaves_the_outbox_to_them(settings, receiver, outbox, caplog):
    async with running(settings, receiver.url, outbox) as webhooks:
        await webhooks._task.stop()
        put(outbox, "turn")
        await webhooks.flush(LIMIT_SECONDS)
    assert receiver.ids == []
    assert list(outbox._entries) == ["turn"]
    assert lines(caplog) == []
