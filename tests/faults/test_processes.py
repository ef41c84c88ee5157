"""Workers and stores that die, freeze and come back, seen from browsers on another worker."""

import asyncio
import signal

import pytest
from websockets.exceptions import InvalidStatus

from relay.layers.values import new_id
from tests.clients import text_of
from tests.faults.test_takeover import end_of

RUNNER, OTHER = 0, 1  # the gateway that is asked, and so runs the turn; the one that only watches
LONG_ANSWER = "script:tokens 60 delay=0.02 gate={gate}"  # it is not over before its gate is opened
WHOLE_TEXT = "".join(f"{number} " for number in range(60))


@pytest.fixture
def gate():
    """Where the long answer of a test waits."""
    return new_id()


async def asked_and_watched(asking, watching, gate):
    """Ask on one socket; wait until the other has seen some of the answer. Returns its text."""
    for browser in (asking, watching):
        await browser.frame_of("welcome")
    await asking.say(LONG_ANSWER.format(gate=gate))
    seen = []
    while len(text_of(seen)) < 10:
        seen.append(await watching.frame())
    return text_of(seen)


async def test_an_answer_is_seen_whole_on_every_worker(patient_cluster, gate):
    cluster = patient_cluster
    async with cluster.open(RUNNER, "whole") as asking, cluster.open(OTHER, "whole") as watching:
        text = await asked_and_watched(asking, watching, gate)
        cluster.open_gate(gate)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT
        assert text_of(await asking.turn()) == WHOLE_TEXT
    assert cluster.asked("whole") == 1


async def test_a_turn_is_cancelled_from_another_worker(patient_cluster, gate):
    cluster = patient_cluster
    async with cluster.open(RUNNER, "cancel") as asking, cluster.open(OTHER, "cancel") as watching:
        await asked_and_watched(asking, watching, gate)
        await watching.cancel()
        assert (await watching.turn())[-1]["finish_reason"] == "cancelled"
        assert await cluster.counts(RUNNER, 'gateway_turns_total{reason="cancelled"}') == 1


async def test_the_turn_of_a_killed_worker_is_ended_and_the_next_message_answered(cluster, gate):
    async with cluster.open(OTHER, "killed") as watching:
        async with cluster.open(RUNNER, "killed") as asking:
            text = await asked_and_watched(asking, watching, gate)
            cluster.gateways[RUNNER].kill()
        frames = await watching.turn()
        assert frames[-1]["code"] == "interrupted"
        assert WHOLE_TEXT.startswith(text + text_of(frames))
        assert await watching.ask("again") == "again"
    assert cluster.asked("killed") == 2
    counted = await cluster.counted(OTHER)
    assert counted["gateway_turns_abandoned_total"] == 1
    assert counted['gateway_turns_total{reason="interrupted"}'] == 1


async def test_a_message_queued_behind_a_killed_worker_is_answered(cluster, gate):
    async with cluster.open(OTHER, "queued") as watching:
        async with cluster.open(RUNNER, "queued") as asking:
            await asked_and_watched(asking, watching, gate)
            await asking.frame_of("accepted")
            await asking.say("next")
            await asking.frame_of("accepted")
            cluster.gateways[RUNNER].kill()
        assert (await watching.turn())[-1]["code"] == "interrupted"
        assert await watching.answer() == "next"


async def test_a_worker_that_was_stopped_beyond_its_lease_writes_nothing_more(cluster, gate):
    async with cluster.open(OTHER, "paused") as watching, cluster.open(RUNNER, "paused") as asking:
        await asked_and_watched(asking, watching, gate)
        cluster.gateways[RUNNER].signal(signal.SIGSTOP)
        frames = await watching.turn()
        assert frames[-1]["code"] == "interrupted"
        cluster.gateways[RUNNER].signal(signal.SIGCONT)
        assert await end_of(asking) in ("interrupted", 4503)  # it may find that a reply of the store came too late
        async with cluster.open(RUNNER, "paused") as back:
            assert await back.ask("after") == "after"
        frames = await watching.turn()
        assert (frames[0]["type"], text_of(frames)) == ("user_message", "after")
        assert (await cluster.counted(OTHER))["gateway_turns_abandoned_total"] == 1
        assert await cluster.counts(RUNNER, "gateway_leases_lost_total") == 1


async def test_an_answer_goes_on_when_the_store_restarts_with_its_data(patient_cluster, gate):
    cluster = patient_cluster
    async with cluster.open(RUNNER, "restart") as asking, cluster.open(OTHER, "restart") as watching:
        text = await asked_and_watched(asking, watching, gate)
        cluster.valkey.kill()
        cluster.open_gate(gate)
        await asyncio.to_thread(cluster.valkey.start)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT
        assert text_of(await asking.turn()) == WHOLE_TEXT
        assert await cluster.counts(RUNNER, "gateway_store_calls_repeated_total") >= 1


async def test_an_answer_goes_on_when_connections_are_cut(patient_cluster, gate):
    cluster = patient_cluster
    async with cluster.open(RUNNER, "cut") as asking, cluster.open(OTHER, "cut") as watching:
        text = await asked_and_watched(asking, watching, gate)
        for kind in ("normal", "pubsub"):
            cluster.valkey.command("CLIENT", "KILL", "TYPE", kind)
        cluster.open_gate(gate)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT
        assert text_of(await asking.turn()) == WHOLE_TEXT
        assert await cluster.counts(RUNNER, "gateway_store_calls_repeated_total") >= 1
        assert await cluster.counts(OTHER, "gateway_pubsub_connections_lost_total") >= 1


async def test_a_store_that_comes_back_empty_ends_the_answer_with_buffer_lost(patient_cluster, gate):
    cluster = patient_cluster
    async with cluster.open(RUNNER, "lost") as asking, cluster.open(OTHER, "lost") as watching:
        text = await asked_and_watched(asking, watching, gate)
        cluster.valkey.kill()
        cluster.valkey.forget()
        await asyncio.to_thread(cluster.valkey.start)
        for browser in (asking, watching):
            snapshot = await browser.frame_of("snapshot")
            while snapshot["error"] is None:  # the log is empty until its owner tells of the loss
                snapshot = await browser.frame_of("snapshot")
            assert snapshot["error"]["code"] == "buffer_lost"
            assert snapshot["content"].startswith(text)
        assert await watching.ask("again") == "again"
        assert await cluster.counts(RUNNER, 'gateway_turns_total{reason="buffer_lost"}') == 1


async def test_a_frozen_store_within_the_lease_delays_only(patient_cluster, gate):
    cluster = patient_cluster
    async with cluster.open(RUNNER, "frozen") as asking, cluster.open(OTHER, "frozen") as watching:
        text = await asked_and_watched(asking, watching, gate)
        cluster.valkey.signal(signal.SIGSTOP)
        cluster.open_gate(gate)
        await cluster.becomes_ready(RUNNER, False)
        cluster.valkey.signal(signal.SIGCONT)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT


async def test_beyond_the_lease_viewers_are_sent_away_and_find_the_end_when_they_return(cluster, gate):
    async with cluster.open(RUNNER, "outage") as asking, cluster.open(OTHER, "outage") as watching:
        await asked_and_watched(asking, watching, gate)
        cluster.valkey.kill()
        cluster.open_gate(gate)
        leaving = await watching.frame_of("disconnect")
        assert (leaving["code"], leaving["reconnect"]) == ("store_unavailable", True)
        assert await watching.close_code() == 4503
        assert (await cluster.counted(OTHER))['gateway_disconnects_total{code="store_unavailable"}'] == 1
        assert await cluster.counts(RUNNER, 'gateway_store_call_errors_total{error="unavailable"}') >= 1
        await asyncio.to_thread(cluster.valkey.start)
        await cluster.becomes_ready(OTHER)
    async with cluster.open(OTHER, "outage", "offset=0") as back:
        frames = await back.turn()
        if frames[-1]["type"] == "error":
            assert frames[-1]["code"] in ("store_unavailable", "interrupted")
            assert WHOLE_TEXT.startswith(text_of(frames))
        else:  # the store came back just in time for its worker
            assert text_of(frames) == WHOLE_TEXT


async def message_is_refused(cluster, waiting):
    await waiting.say("hi", client_message_id="one")
    refusal = await waiting.frame_of("error")
    assert (await cluster.counted(RUNNER))['gateway_messages_total{result="store_unavailable"}'] == 1
    assert (refusal["code"], refusal["client_message_id"]) == ("store_unavailable", "one")
    assert await asyncio.to_thread(cluster.status, RUNNER, "/ready") == 503
    assert await asyncio.to_thread(cluster.status, RUNNER, "/health") == 200


async def sockets_are_refused(cluster, session_id):
    async with cluster.open_once(OTHER, session_id) as comer:
        leaving = await comer.frame()
        assert (leaving["type"], leaving["code"], leaving["reconnect"]) == ("disconnect", "store_unavailable", True)
        assert await comer.close_code() == 4503


async def plain_sockets_are_refused(cluster, session_id):
    with pytest.raises(InvalidStatus, match="403"):
        async with cluster.open_plain_once(OTHER, session_id):
            pass


@pytest.mark.parametrize("outage", ["killed", "frozen"])
async def test_during_an_outage_sockets_and_messages_are_refused_and_the_process_says_it_is_not_ready(
    patient_cluster, outage
):
    cluster, session_id = patient_cluster, f"refused-{outage}"
    async with cluster.open_once(RUNNER, session_id) as waiting:
        await waiting.frame_of("welcome")
        await cluster.becomes_ready(RUNNER)
        if outage == "killed":
            cluster.valkey.kill()
        else:
            cluster.valkey.signal(signal.SIGSTOP)
        async with asyncio.TaskGroup() as group:  # each waits for the store until its time is up
            group.create_task(message_is_refused(cluster, waiting))
            group.create_task(sockets_are_refused(cluster, session_id))
            group.create_task(plain_sockets_are_refused(cluster, session_id))
        if outage == "killed":
            await asyncio.to_thread(cluster.valkey.start)
        else:
            cluster.valkey.signal(signal.SIGCONT)
    await cluster.becomes_ready(OTHER)
    async with cluster.open(OTHER, session_id, "offset=0") as back:
        await back.frame_of("welcome")
        await back.say("hi", client_message_id="one")
        assert text_of(await back.turn()) == "hi"
    assert cluster.asked(session_id) == 1


async def test_a_message_that_was_refused_and_is_said_again_is_answered_once(patient_cluster):
    """The store does what it was asked while it stood still, too."""
    cluster = patient_cluster
    async with cluster.open(RUNNER, "again") as browser:
        await browser.frame_of("welcome")
        cluster.valkey.signal(signal.SIGSTOP)
        await browser.say("hi")
        answering = asyncio.create_task(browser.answer())
        assert await cluster.counts(RUNNER, 'gateway_messages_total{result="store_unavailable"}') >= 1
        cluster.valkey.signal(signal.SIGCONT)
        assert await answering == "hi"
        assert await browser.ask("next") == "next"
    assert cluster.asked("again") == 2
