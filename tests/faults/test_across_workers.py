"""Resume, cancel, idempotency and ``on_busy``, with each socket of a session on another worker."""

import asyncio
import json
import urllib.request

import pytest

from relay.layers.values import new_id
from tests import processes
from tests.clients import text_of
from tests.faults.returning_clients import request_until_served

HERE, THERE = 0, 1
STALL = "script:stall"


@pytest.fixture
def here(calm_cluster):
    return lambda session_id, query="": calm_cluster.open(HERE, session_id, query)


@pytest.fixture
def there(calm_cluster):
    return lambda session_id, query="": calm_cluster.open(THERE, session_id, query)


@pytest.fixture
def s():
    return new_id()


def shown(frame):
    """The text that a frame brings: of a token; or of a snapshot, for who is behind."""
    return frame.get("token") or frame.get("content") or ""


async def say(browser, content, **fields):
    """Say something. Returns its ``accepted`` frame."""
    await browser.say(content, **fields)
    return await browser.frame_of("accepted")


async def test_welcome_names_what_runs_and_what_waits_elsewhere(here, there, s):
    async with here(s) as one:
        turn_ids = [(await say(one, content))["turn_id"] for content in (STALL, "two", "three")]
        async with there(s) as two:
            welcome = await two.frame()
            assert welcome["active"] == {"turn_id": turn_ids[0], "status": "running"}
            assert welcome["queued"] == turn_ids[1:]


@pytest.mark.parametrize(
    ("query", "recovered", "first"),
    [
        ("", None, None),
        ("offset=0", False, "trimmed"),
        ("epoch={epoch}&offset=20", True, None),
        ("epoch={epoch}&offset=19", True, 20),
        ("epoch={epoch}&offset=4", True, 5),
        ("epoch={epoch}&offset=3", False, "trimmed"),
        ("epoch={epoch}&offset=21", False, "epoch_changed"),
        ("epoch=other&offset=20", False, "epoch_changed"),
        ("epoch={epoch}", False, "epoch_changed"),
        ("offset=7", False, "epoch_changed"),
    ],
)
async def test_a_cursor_of_one_worker_is_honoured_by_another(here, there, s, query, recovered, first):
    async with here(s) as one:
        epoch = (await one.frame())["epoch"]
        await one.ask("script:distinct 18 x delay=0.01")
    async with there(s, query.format(epoch=epoch)) as two:
        welcome = await two.frame()
        assert (welcome["epoch"], welcome["offset"], welcome["recovered"]) == (epoch, 20, recovered)
        following = await two.frame()
        if isinstance(first, int):
            assert following["offset"] == first
        elif first is None:
            assert following["type"] == "ping"
        else:
            assert (following["type"], following["reason"]) == ("snapshot", first)
            assert following["content"] == "".join(f"x-{number} " for number in range(18))


async def test_a_snapshot_of_a_turn_that_runs_elsewhere_is_followed_by_the_rest(calm_cluster, here, there, s):
    async with here(s) as one:
        await say(one, f"script:tokens 40 delay=0.01 gate={s}")
        while not shown(await one.frame()).endswith("19 "):
            pass
        async with there(s, "epoch=other&offset=3") as two:
            snapshot = await two.frame_of("snapshot")
            calm_cluster.open_gate(s)
            frames = await two.turn()
            assert frames[0]["offset"] == snapshot["offset"] + 1
            assert snapshot["content"] + text_of(frames) == "".join(f"{number} " for number in range(40))
        await one.turn()


@pytest.mark.parametrize("dialect", ["v1", "plain"])
async def test_a_socket_without_a_cursor_gets_the_turn_that_runs_elsewhere_from_its_start(
    calm_cluster, here, there, s, dialect
):
    async with here(s) as one:
        await say(one, f"script:tokens 12 gate={s}")
        while text_of([await one.frame()]) != "5 ":
            pass
        async with there(s) if dialect == "v1" else calm_cluster.open_plain(THERE, s) as two:
            calm_cluster.open_gate(s)
            assert await two.answer() == "".join(f"{number} " for number in range(12))


@pytest.mark.parametrize("after", range(1, 8))
async def test_an_answer_that_is_cut_anywhere_goes_on_on_the_other_worker(here, there, s, after):
    query, seen = "offset=0", []
    for visit, opened in enumerate([here, there, here]):
        async with opened(s, query) as browser:
            epoch = (await browser.frame())["epoch"]
            if visit == 0:
                await browser.say("script:tokens 5 delay=0.02")
            while len(seen) < min(8, after * (visit + 1) if visit < 2 else 8):
                frame = await browser.frame()
                if "offset" in frame and frame["type"] != "ping":
                    seen.append(frame)
            browser.connection.transport.abort()
        query = f"epoch={epoch}&offset={seen[-1]['offset']}"
    assert [frame["offset"] for frame in seen] == list(range(1, 9))
    assert text_of(seen) == "0 1 2 3 4 "


async def with_the_end(browser, kind):
    """Read the end of a turn, and a frame of another kind, whichever comes first: one worker is asked, another writes.

    Returns that frame, and the text.
    """
    frames = []
    while not {kind, "final"} <= {"final" if frame.get("is_final") else frame["type"] for frame in frames}:
        frames.append(await browser.frame())
    return next(frame for frame in frames if frame["type"] == kind), text_of(frames)


async def accepted_and_answered(browser, content, **fields):
    """Say something. Returns its ``accepted`` frame and the answer."""
    await browser.say(content, **fields)
    return await with_the_end(browser, "accepted")


async def test_the_same_message_on_both_workers_at_once_is_answered_once(calm_cluster, here, there, s):
    async with here(s) as one, there(s) as two:
        said = (accepted_and_answered(browser, "hi", client_message_id="m") for browser in (one, two))
        accepted, answers = zip(*await asyncio.gather(*said), strict=True)
        assert len({frame["turn_id"] for frame in accepted}) == 1
        assert sorted(frame["duplicate"] for frame in accepted) == [False, True]
        assert answers == ("hi", "hi")
        again = await say(two, "hi", client_message_id="m")
        assert (again["status"], again["duplicate"], again["position"]) == ("ended", True, None)
        await one.say("something else", client_message_id="m")
        assert (await one.frame_of("error"))["code"] == "idempotency_conflict"
    assert calm_cluster.asked(s) == 1


async def test_reject_refuses_while_another_worker_is_busy(here, there, s):
    async with here(s) as one, there(s) as two:
        await say(one, STALL)
        await two.say("no", on_busy="reject", client_message_id="m")
        refusal = await two.frame_of("error")
        assert (refusal["code"], refusal["client_message_id"]) == ("session_busy", "m")
        await two.cancel()
        await with_the_end(two, "cancel_ack")
        accepted, answer = await accepted_and_answered(two, "yes", on_busy="reject", client_message_id="m")
        assert (accepted["duplicate"], answer) == (False, "yes")


async def test_interrupt_stops_the_turn_of_another_worker_and_goes_first(here, there, s):
    async with here(s) as one, there(s) as two:
        await say(one, STALL)
        await say(one, "waits")
        assert (await say(two, "goes first", on_busy="interrupt"))["position"] == 0
        assert (await one.turn())[-1]["finish_reason"] == "cancelled"
        assert [await one.answer(), await one.answer()] == ["goes first", "waits"]


async def test_cancel_from_another_worker_is_acknowledged_and_asked_again_says_the_same(here, there, s):
    async with here(s) as one, there(s) as two:
        running, waiting = (await say(one, STALL))["turn_id"], (await say(one, "waits"))["turn_id"]

        async def cancel(**fields):
            await two.cancel(**fields)
            ack = await two.frame_of("cancel_ack")
            return ack["turn_id"], ack["status"]

        assert await cancel(turn_id=waiting) == (waiting, "queued")
        assert await cancel(turn_id=waiting) == (waiting, "queued")
        assert await cancel() == (running, "cancelling")
        for _ in range(2):
            assert (await one.turn())[-1]["finish_reason"] == "cancelled"
        assert await cancel(turn_id=running) == (running, "already_ended")
        assert await cancel(turn_id="no-such-turn") == ("no-such-turn", "unknown")
        assert await cancel() == (None, "unknown")


async def test_a_session_that_is_deleted_elsewhere_sends_its_viewers_away(calm_cluster, here, s):
    async with here(s) as one:
        await say(one, STALL)
        url = f"{calm_cluster.gateways[THERE].http_url}/api/v1/sessions/{s}"
        request = urllib.request.Request(url, method="DELETE", headers={"X-Internal-Auth": processes.KEY})
        await asyncio.to_thread(request_until_served, request)
        assert (await one.frame_of("disconnect"))["code"] == "session_deleted"
        assert await one.close_code() == 1000


async def test_rest_on_one_worker_sees_what_a_socket_on_another_said(calm_cluster, here, s):
    async with here(s) as one:
        await one.ask("hi")
    url = f"{calm_cluster.gateways[THERE].http_url}/api/v1/sessions/{s}/frames?offset=0"
    request = urllib.request.Request(url, headers={"X-Internal-Auth": processes.KEY})
    page = json.loads(await asyncio.to_thread(request_until_served, request))
    assert text_of(page["frames"]) == "hi"
