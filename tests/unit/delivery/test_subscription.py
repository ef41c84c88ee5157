"""A session's log as one viewer sees it, in its dialect, whatever happens between two looks."""

import asyncio
import json
from contextlib import aclosing

import pytest

from relay.delivery.client_writer import ClientWriter
from relay.delivery.subscription import PlainSubscription, ResumableSubscription, runs
from relay.exceptions import BufferLost, TooSlow
from relay.layers.bounds import Bounds
from relay.layers.memory.layer import MemorySessionLayer
from relay.observability import metrics
from relay.protocol import frames
from relay.protocol.frames import ReplayGap, Snapshot
from relay.tasks import cancel_and_wait
from relay.testing.turns import LIMIT_SECONDS, S, answer, enqueue, say, start, stop, tokens

USER, A, B = 1, 2, 3  # offsets


def opened(**bounds):
    return MemorySessionLayer(Bounds(**bounds))


class Screen:
    """What one viewer gets."""

    def __init__(self, viewer):
        self.viewer = viewer
        self._batches = viewer.batches()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        await self._batches.aclose()

    async def next_batch(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            return await anext(self._batches)

    async def next(self):
        """The next batch that shows anything, as this dialect writes it."""
        while True:
            texts = [json.loads(text) for text in self.viewer.encode(await self.next_batch())]
            if texts:
                return texts

    async def rest(self):
        """Everything, up to the error that ends it."""
        while True:
            await self.next()


async def plain(layer):
    viewer = PlainSubscription(layer, S)
    await viewer.start()
    return Screen(viewer)


async def resumable(layer, *, coalesce=False, **cursor):
    viewer = ResumableSubscription(layer, S, coalesce=coalesce)
    welcome = await viewer.start(**cursor)
    return welcome, Screen(viewer)


def token(text):
    return {"type": "assistant_message", "token": text, "is_final": False}


FINAL = {"type": "assistant_message", "token": "", "is_final": True}


# Plain.


async def test_a_plain_viewer_of_an_idle_session_sees_only_what_comes():
    layer = opened()
    await answer(layer, "old", "x")
    async with await plain(layer) as screen:
        await answer(layer, "new", "a")
        assert await screen.next() == [token("a"), FINAL]


async def test_a_plain_viewer_sees_the_turn_in_flight_from_its_first_token():
    layer = opened()
    await answer(layer, "old", "x")
    turn = await start(layer)
    await say(layer, turn, "a", "b")
    async with await plain(layer) as screen:
        assert await screen.next() == [token("a"), token("b")]
        await stop(layer, turn)
        assert await screen.next() == [FINAL]


async def test_a_plain_viewer_sees_no_user_message_and_no_notice():
    layer = opened()
    async with await plain(layer) as screen:
        turn = await start(layer)
        await layer.append(turn, [frames.notice(turn.turn_id, "code", "words")])
        await stop(layer, turn)
        assert await screen.next() == [FINAL]


async def test_a_plain_viewer_gets_trimmed_text_as_one_token_and_goes_on():
    layer = opened(max_frames=2)
    turn = await start(layer)
    await say(layer, turn, *"abcd")
    async with await plain(layer) as screen:
        assert await screen.next() == [token("abcd")]
        await say(layer, turn, "e")
        assert await screen.next() == [token("e")]


async def test_a_plain_viewer_gets_the_end_of_a_turn_that_ended_and_was_trimmed_as_it_came():
    layer = opened(max_frames=2)
    turn = await start(layer)
    async with await plain(layer) as screen:
        await say(layer, turn, *"abcd")
        await stop(layer, turn)
        assert await screen.next() == [token("abcd"), FINAL]


async def test_a_plain_viewer_whose_turn_has_no_text_yet_gets_no_empty_token():
    layer = opened(max_frames=1)
    turn = await start(layer)
    await layer.append(turn, [frames.event(turn.turn_id, {"type": "tool_call"})])
    async with await plain(layer) as screen:
        await say(layer, turn, "a")
        assert (await screen.next())[-1] == token("a")


async def test_a_plain_viewer_that_is_overtaken_is_too_slow():
    layer = opened(max_frames=3)
    turn = await start(layer)
    async with await plain(layer) as screen:
        await say(layer, turn, "a")
        assert await screen.next() == [token("a")]
        await say(layer, turn, *"bcdef")
        with pytest.raises(TooSlow):
            await screen.next()


async def test_a_plain_viewer_of_a_session_that_was_begun_anew_goes_on():
    layer = opened(max_sessions=1)
    await answer(layer)
    async with await plain(layer) as screen:
        await layer.ensure("another")  # makes this one room
        await layer.delete("another")
        waiting = asyncio.create_task(screen.next())
        await asyncio.sleep(0)
        await answer(layer, "hi", "a")
        assert await waiting == [token("a"), FINAL]


LOST = ReplayGap(Snapshot("e2", 0, "epoch_changed"))  # the store came back without the session
MIDDLE = ReplayGap(Snapshot("e1", 3, "trimmed", "t1", "a"))  # of the first turn, which is longer than the log


def numbered(*made):
    for offset, frame in enumerate(made, 1):
        frame.offset = offset
    return list(made)


@pytest.fixture
def playing(monkeypatch):
    """A layer whose tails come to the given batches and gaps, one after another."""

    def play(*steps):
        layer, left = opened(), list(steps)

        async def tail(*_: object):
            while left:
                step = left.pop(0)
                if isinstance(step, ReplayGap):
                    raise step
                yield step
            raise AssertionError("the viewer goes on")

        monkeypatch.setattr(layer, "tail", tail)
        return layer

    return play


def user(turn_id):
    return frames.user_message(turn_id, '{"type":"user_message","content":"hi"}')


@pytest.mark.parametrize(
    "before",
    [
        [numbered(user("t1"))],
        [numbered(user("t1"), frames.token("t1", "a"))],
        [MIDDLE],
        [numbered(user("t1"), frames.token("t1", "a")), LOST],
    ],
    ids=["no text", "text", "text of a snapshot", "lost twice"],
)
async def test_a_plain_viewer_is_never_given_another_answer_as_the_rest_of_a_lost_one(playing, before):
    layer = playing(*before, LOST, numbered(user("t2"), frames.token("t2", "b")))
    async with await plain(layer) as screen:
        with pytest.raises(TooSlow):
            await screen.rest()


async def test_a_plain_viewer_is_told_the_end_of_a_lost_answer_and_goes_on(playing):
    lost = frames.error("t1", BufferLost())
    layer = playing(
        numbered(user("t1"), frames.token("t1", "a")), LOST, numbered(lost), numbered(user("t2"), frames.final("t2"))
    )
    async with await plain(layer) as screen:
        assert await screen.next() == [token("a")]
        assert await screen.next() == [json.loads(lost.body)]
        assert await screen.next() == [FINAL]


async def test_a_plain_viewer_of_ended_answers_goes_on_when_the_log_is_lost(playing):
    layer = playing(numbered(user("t1"), frames.final("t1")), LOST, numbered(user("t2"), frames.token("t2", "b")))
    async with await plain(layer) as screen:
        assert await screen.next() == [FINAL]
        assert await screen.next() == [token("b")]


class Line(ClientWriter[str]):
    """A writer that accepts everything, and waits only where it is told to."""

    is_sending = False

    def __init__(self):
        super().__init__()
        self.is_ready = True
        self.pushed = []
        self.sent = []

    def can_send_now(self):
        return self.is_ready

    def send_now(self, pieces):
        self.pushed += pieces
        return True

    async def send(self, piece):
        self.sent.append(piece)


async def test_what_was_pushed_counts_as_given_and_another_answer_is_not_pushed_either(monkeypatch):
    layer, line, pushed = opened(), Line(), []
    mine, others = numbered(user("t1"), frames.token("t1", "a")), numbered(user("t2"), frames.token("t2", "b"))

    async def tail(session_id, after, sink, subject):
        pushed.append(sink.push(others if pushed else mine))
        if len(pushed) == 1:
            raise LOST
        yield others

    monkeypatch.setattr(layer, "tail", tail)
    viewer = PlainSubscription(layer, S)
    with pytest.raises(TooSlow):
        await viewer.deliver(line, viewer.encode)
    assert (pushed, [json.loads(text) for text in line.pushed], line.sent) == ([True, False], [token("a")], [])


async def delivered(viewer, line, encode):
    """Deliver a log up to where its viewer waits for the next frame."""
    task = asyncio.create_task(viewer.deliver(line, encode))
    await asyncio.sleep(0)
    return task


async def test_frames_are_encoded_once_each_whether_they_are_pushed_or_waited_for():
    layer, line = opened(), Line()
    turn = await start(layer)
    viewer = ResumableSubscription(layer, S)
    await viewer.start()
    encoded = []

    def encode(batch):
        encoded.extend(frame.offset for frame in batch)
        return map(str, [frame.offset for frame in batch])

    delivering = await delivered(viewer, line, encode)
    await say(layer, turn, "a")
    line.is_ready = False
    await say(layer, turn, "b")
    await asyncio.sleep(0)
    line.is_ready = True
    await say(layer, turn, "c")
    assert (line.sent, line.pushed, encoded) == (["1", "3"], ["2", "4"], [1, 2, 3, 4])
    assert viewer.position.offset == 4
    await cancel_and_wait(delivering)


async def test_an_encoding_that_fails_in_a_push_ends_its_viewer_alone_and_is_not_repeated():
    layer, line, encoded = opened(), Line(), []
    turn = await start(layer)
    viewer = ResumableSubscription(layer, S)
    await viewer.start()

    def encode(batch):
        encoded.append(batch)
        if len(encoded) > 1:
            raise ValueError
        return []

    delivering = await delivered(viewer, line, encode)
    assert await say(layer, turn, "a", "b") == 3
    assert await say(layer, turn, "c") == 4
    with pytest.raises(ValueError):
        await delivering
    assert (len(encoded), viewer.position.offset) == (2, 4)


# gateway.v1.


async def test_welcome_without_a_cursor():
    layer = opened()
    turn = await start(layer)
    queued = await enqueue(layer)
    await say(layer, turn, "a")
    welcome, screen = await resumable(layer)
    state = await layer.ensure(S)
    assert welcome == {
        "type": "welcome",
        "session_id": S,
        "epoch": state.epoch,
        "offset": A,
        "after": 0,
        "recovered": None,
        "heartbeat_seconds": 20.0,
        "retention_seconds": 3600.0,
        "max_message_bytes": 262_144,
        "active": {"turn_id": turn.turn_id, "status": "running"},
        "queued": [queued.turn_id],
        "pending": [],
        "history": False,
    }
    async with screen:
        assert [frame["offset"] for frame in await screen.next()] == [USER, A]


async def test_welcome_says_that_a_turn_is_being_cancelled():
    layer = opened()
    await start(layer)
    await layer.cancel(S)
    welcome, _ = await resumable(layer)
    assert welcome["active"]["status"] == "cancelling"


async def test_welcome_to_an_idle_session():
    layer = opened()
    await answer(layer)
    welcome, _ = await resumable(layer)
    assert (welcome["offset"], welcome["after"], welcome["active"], welcome["queued"]) == (2, 2, None, [])


async def test_all_of_a_trimmed_log_starts_with_its_oldest_whole_turn():
    """The beheaded turn before it is left out: it comes by page."""
    layer = opened(max_frames=9)
    await answer(layer, "one", *"abcdef")  # 1 to 8
    await answer(layer, "two", *"gh")  # 9 to 12; 4 to 12 are kept
    await start(layer, "three")
    welcome, screen = await resumable(layer, offset="0")
    assert (welcome["recovered"], welcome["after"]) == (True, 8)
    async with screen:
        assert [frame["offset"] for frame in await screen.next()] == [9, 10, 11, 12, 13]


@pytest.mark.parametrize("ends", [False, True])
async def test_an_answer_that_is_longer_than_the_log_is_never_without_its_head(ends, settings):
    settings.GATEWAY = {**settings.GATEWAY, "TRANSCRIPTS": "true"}
    layer = opened(max_frames=3)
    await answer(layer, "before")
    turn = await start(layer, "long")
    await say(layer, turn, *"abcdef")
    if ends:
        await stop(layer, turn)
    welcome, screen = await resumable(layer, offset="0")
    assert (welcome["recovered"], welcome["after"], welcome["history"]) == (False, None, True)
    async with screen:
        [snapshot] = await screen.next()
        assert (snapshot["turn_id"], snapshot["content"], snapshot["history"]) == (turn.turn_id, "abcdef", True)
        assert snapshot["user_message"] == (None if ends else {"type": "user_message", "content": "long"})


async def test_a_log_that_is_trimmed_while_its_oldest_whole_turn_is_searched_gives_a_snapshot(monkeypatch):
    layer = opened(max_frames=9)
    await answer(layer, "one", *"abcdef")
    await answer(layer, "two", *"gh")
    monkeypatch.setattr("relay.delivery.subscription.SEARCHED_FRAMES", 1)
    read = layer.read

    async def trimming(*arguments):
        page = await read(*arguments)
        await answer(layer, "more", *"xyz")
        return page

    monkeypatch.setattr(layer, "read", trimming)
    welcome, screen = await resumable(layer, offset="0")
    assert (welcome["recovered"], welcome["after"]) == (False, None)
    async with screen:
        assert (await screen.next())[0]["content"] == "xyz"


@pytest.mark.parametrize(
    ("epoch", "offset", "recovered", "after", "reason"),
    [
        ("", "0", False, None, "trimmed"),
        ("same", "8", True, 8, None),
        ("same", "7", True, 7, None),
        ("same", "3", True, 3, None),
        ("same", "2", False, None, "trimmed"),
        ("same", "9", False, None, "epoch_changed"),
        ("same", "", False, None, "epoch_changed"),
        ("other", "8", False, None, "epoch_changed"),
        ("", "8", False, None, "epoch_changed"),
        ("same", "-1", False, None, "epoch_changed"),
    ],
)
async def test_every_row_of_the_cursor_table(epoch, offset, recovered, after, reason):
    layer = opened(max_frames=5)
    await answer(layer, "hi", *"abcdef")  # 4 to 8 are kept
    known = (await layer.ensure(S)).epoch
    welcome, screen = await resumable(layer, epoch=known if epoch == "same" else epoch, offset=offset)
    assert (welcome["recovered"], welcome["after"]) == (recovered, after)
    async with screen:
        if after == 8:
            await answer(layer)
        first = (await screen.next())[0]
        if reason is None:
            assert first["offset"] == after + 1
        else:
            assert (first["type"], first["reason"], first["epoch"], first["offset"]) == ("snapshot", reason, known, 8)
            assert (first["content"], first["finish_reason"]) == ("abcdef", "stop")
            await answer(layer)
            assert (await screen.next())[0]["offset"] == 9


async def test_without_a_cursor_a_trimmed_turn_in_flight_begins_with_a_snapshot():
    layer = opened(max_frames=2)
    turn = await start(layer)
    await say(layer, turn, *"abcd")
    welcome, screen = await resumable(layer)
    assert (welcome["recovered"], welcome["after"]) == (None, None)
    async with screen:
        (snapshot,) = await screen.next()
        assert (snapshot["reason"], snapshot["content"], snapshot["offset"]) == ("trimmed", "abcd", 5)


async def test_a_cursor_beyond_the_newest_gets_its_snapshot_even_if_the_log_reaches_it_meanwhile():
    layer = opened()
    turn = await start(layer)
    state = await layer.ensure(S)
    welcome, screen = await resumable(layer, epoch=state.epoch, offset="2")
    assert welcome["after"] is None
    await say(layer, turn, "a", "b")
    async with screen:
        (snapshot,) = await screen.next()
        assert (snapshot["type"], snapshot["content"], snapshot["offset"]) == ("snapshot", "ab", B)


async def test_a_viewer_that_is_overtaken_gets_a_snapshot_and_goes_on():
    layer = opened(max_frames=2)
    turn = await start(layer)
    _, screen = await resumable(layer)
    async with screen:
        assert len(await screen.next()) == 1
        await say(layer, turn, *"abcd")
        assert (await screen.next())[0]["content"] == "abcd"
        await say(layer, turn, "e")
        assert [frame["token"] for frame in await screen.next()] == ["e"]


async def test_the_position_is_that_of_the_last_batch():
    layer = opened()
    turn = await start(layer)
    _, screen = await resumable(layer)
    async with screen:
        await say(layer, turn, "a", "b")
        await screen.next_batch()
        assert (screen.viewer.position.epoch, screen.viewer.position.offset) == ((await layer.ensure(S)).epoch, B)


async def test_coalesced_tokens_come_as_one_frame_and_others_alone():
    layer = opened()
    turn = await start(layer)
    await say(layer, turn, "a", "b")
    await layer.append(turn, [frames.event(turn.turn_id, {"type": "tool_call"}), *tokens(turn, "c")])
    await stop(layer, turn)
    _, screen = await resumable(layer, coalesce=True, offset="0")
    async with screen:
        shown = [(frame.get("token"), frame.get("from_offset"), frame["offset"]) for frame in await screen.next()]
    assert shown == [(None, None, 1), ("ab", 2, 3), (None, None, 4), ("c", None, 5), ("", None, 6)]


async def test_without_coalesce_it_is_one_frame_a_token():
    layer = opened()
    await answer(layer, "hi", "a", "b")
    _, screen = await resumable(layer, offset="0")
    async with screen:
        assert [frame["offset"] for frame in await screen.next()] == [1, 2, 3, 4]


def test_runs_do_not_join_tokens_of_two_turns():
    made = [frames.token("one", "a"), frames.token("one", "b"), frames.token("two", "c"), frames.final("two")]
    assert [len(run) for run in runs(made)] == [2, 1, 1]


async def test_a_snapshot_in_either_dialect_is_told_apart_from_frames():
    layer = opened()
    await answer(layer)
    _, screen = await resumable(layer, epoch="other", offset="5")
    async with screen, aclosing(screen.viewer.batches()) as again:
        assert isinstance(await anext(again), Snapshot)


@pytest.mark.parametrize(("offset", "kind"), [(3, "hole"), (1, "duplicate")])
async def test_a_log_in_disorder_is_reported_and_shown_as_it_is(monkeypatch, caplog, offset, kind):
    layer = opened()

    async def tail(*_: object):
        for place, text in ((1, "a"), (offset, "b")):
            frame = frames.token("t", text)
            frame.offset = place
            yield [frame]

    monkeypatch.setattr(layer, "tail", tail)
    before = metrics.DISORDER.labels(kind)._value.get()
    async with await plain(layer) as screen:
        assert await screen.next() == [token("a")]
        assert await screen.next() == [token("b")]
    assert metrics.DISORDER.labels(kind)._value.get() == before + 1
    assert f"session {S}: log disorder: {kind}" in caplog.text
