"""Workers and stores that die, freeze and come back, seen from browsers on another worker."""

import asyncio
import signal

from tests.clients import text_of

RUNNER, OTHER = 0, 1  # the gateway that is asked, and so runs the turn; the one that only watches
LONG_ANSWER = "script:tokens 60 delay=0.05"
WHOLE_TEXT = "".join(f"{number} " for number in range(60))


async def asked_and_watched(asking, watching, content=LONG_ANSWER):
    """Ask on one socket; wait until the other has seen some of the answer. Returns its text."""
    for browser in (asking, watching):
        await browser.frame_of("welcome")
    await asking.say(content)
    seen = []
    while len(text_of(seen)) < 10:
        seen.append(await watching.frame())
    return text_of(seen)


async def test_an_answer_is_seen_whole_on_every_worker(cluster):
    async with cluster.open(RUNNER, "whole") as asking, cluster.open(OTHER, "whole") as watching:
        text = await asked_and_watched(asking, watching)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT
        assert text_of(await asking.turn()) == WHOLE_TEXT
    assert cluster.asked("whole") == 1


async def test_a_turn_is_cancelled_from_another_worker(cluster):
    async with cluster.open(RUNNER, "cancel") as asking, cluster.open(OTHER, "cancel") as watching:
        await asked_and_watched(asking, watching)
        await watching.cancel()
        assert (await watching.turn())[-1]["finish_reason"] == "cancelled"


async def test_the_turn_of_a_killed_worker_is_ended_and_the_next_message_answered(cluster):
    async with cluster.open(OTHER, "killed") as watching:
        async with cluster.open(RUNNER, "killed") as asking:
            text = await asked_and_watched(asking, watching)
            cluster.gateways[RUNNER].kill()
        async with asyncio.timeout(10):
            frames = await watching.turn()
        assert frames[-1]["code"] == "interrupted"
        assert WHOLE_TEXT.startswith(text + text_of(frames))
        assert await watching.ask("again") == "again"
    assert cluster.asked("killed") == 2


async def test_a_message_queued_behind_a_killed_worker_is_answered(cluster):
    async with cluster.open(OTHER, "queued") as watching:
        async with cluster.open(RUNNER, "queued") as asking:
            await asked_and_watched(asking, watching)
            await asking.frame_of("accepted")
            await asking.say("next")
            await asking.frame_of("accepted")
            cluster.gateways[RUNNER].kill()
        assert (await watching.turn())[-1]["code"] == "interrupted"
        assert await watching.answer() == "next"


async def test_a_worker_that_was_stopped_beyond_its_lease_writes_nothing_more(cluster):
    async with cluster.open(OTHER, "paused") as watching, cluster.open(RUNNER, "paused") as asking:
        await asked_and_watched(asking, watching)
        cluster.gateways[RUNNER].signal(signal.SIGSTOP)
        frames = await watching.turn()
        assert frames[-1]["code"] == "interrupted"
        cluster.gateways[RUNNER].signal(signal.SIGCONT)
        assert (await asking.turn())[-1]["code"] == "interrupted"
        assert await asking.ask("after") == "after"
        frames = await watching.turn()
        assert (frames[0]["type"], text_of(frames)) == ("user_message", "after")


async def test_an_answer_goes_on_when_the_store_restarts_with_its_data(cluster):
    async with cluster.open(RUNNER, "restart") as asking, cluster.open(OTHER, "restart") as watching:
        text = await asked_and_watched(asking, watching)
        cluster.valkey.kill()
        await asyncio.to_thread(cluster.valkey.start)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT
        assert text_of(await asking.turn()) == WHOLE_TEXT


async def test_an_answer_goes_on_when_connections_are_cut(cluster):
    async with cluster.open(RUNNER, "cut") as asking, cluster.open(OTHER, "cut") as watching:
        text = await asked_and_watched(asking, watching)
        for kind in ("normal", "pubsub"):
            cluster.valkey.command("CLIENT", "KILL", "TYPE", kind)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT
        assert text_of(await asking.turn()) == WHOLE_TEXT


async def test_a_store_that_comes_back_empty_ends_the_answer_with_buffer_lost(cluster):
    async with cluster.open(RUNNER, "lost") as asking, cluster.open(OTHER, "lost") as watching:
        text = await asked_and_watched(asking, watching)
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


async def test_a_frozen_store_within_the_lease_delays_only(cluster):
    async with cluster.open(RUNNER, "frozen") as asking, cluster.open(OTHER, "frozen") as watching:
        text = await asked_and_watched(asking, watching)
        cluster.valkey.signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(1.5, cluster.valkey.signal, signal.SIGCONT)
        assert text + text_of(await watching.turn()) == WHOLE_TEXT


async def test_beyond_the_lease_viewers_are_sent_away_and_find_the_end_when_they_return(cluster):
    async with cluster.open(RUNNER, "outage") as asking, cluster.open(OTHER, "outage") as watching:
        await asked_and_watched(asking, watching)
        cluster.valkey.kill()
        leaving = await watching.frame_of("disconnect")
        assert (leaving["code"], leaving["reconnect"]) == ("store_unavailable", True)
        assert await watching.close_code() == 4503
        await asyncio.to_thread(cluster.valkey.start)
    async with cluster.open(OTHER, "outage", "offset=0") as back:
        frames = await back.turn()
        if frames[-1]["type"] == "error":
            assert frames[-1]["code"] in ("store_unavailable", "interrupted")
            assert WHOLE_TEXT.startswith(text_of(frames))
        else:  # the store came back just in time for its worker
            assert text_of(frames) == WHOLE_TEXT
