"""``read``: the frames after a position, or a gap with a snapshot; never a silent hole."""

import pytest

from relay.exceptions import UpstreamEof
from relay.layers.bounds import Bounds
from relay.protocol import frames
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.testing.turns import S, answer, cursor_at, gap_at, say, shown, start, stop, whole_log


async def read(layer, offset, limit=100):
    return [frame.offset for frame in await layer.read(S, await cursor_at(layer, offset), limit)]


@pytest.fixture
async def trimmed(store):
    """A log of offsets 4 to 8: 1 to 3 are gone."""
    layer = await store.layer(Bounds(max_frames=5))
    await answer(layer, "hi", *"abcdef")
    assert ((await layer.ensure(S)).oldest, (await layer.ensure(S)).newest) == (4, 8)
    return layer


@pytest.mark.parametrize(
    ("after", "offsets"),
    [(0, [1, 2, 3, 4]), (1, [2, 3, 4]), (3, [4]), (4, [])],
    ids=["begin", "first", "newest-1", "newest"],
)
async def test_read_gives_every_frame_after_a_position(layer, after, offsets):
    await answer(layer, "hi", "a", "b")
    assert await read(layer, after) == offsets


@pytest.mark.parametrize(("after", "offsets"), [(8, []), (7, [8]), (4, [5, 6, 7, 8]), (3, [4, 5, 6, 7, 8])])
async def test_read_of_a_trimmed_log_serves_down_to_the_oldest_less_1(trimmed, after, offsets):
    assert await read(trimmed, after) == offsets


@pytest.mark.parametrize("after", [2, 1, 0])
async def test_read_after_a_trimmed_offset_reports_a_gap(trimmed, after):
    snapshot = await gap_at(trimmed, await cursor_at(trimmed, after))
    assert (snapshot.offset, snapshot.reason, snapshot.text) == (8, "trimmed", "abcdef")


@pytest.mark.parametrize("beyond", [1, 2, 10**14])
async def test_read_after_more_than_the_newest_reports_a_gap(layer, beyond):
    await answer(layer, "hi", "a")
    snapshot = await gap_at(layer, await cursor_at(layer, 3 + beyond))
    assert (snapshot.offset, snapshot.reason, snapshot.text) == (3, "epoch_changed", "a")


@pytest.mark.parametrize("offset", [0, 1, 3])
async def test_read_of_another_epoch_reports_a_gap(layer, offset):
    await answer(layer, "hi", "a")
    assert (await gap_at(layer, Cursor("another", offset))).reason == "epoch_changed"


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_read_gives_at_most_limit_frames(layer, limit):
    await answer(layer, "hi", "a")
    assert await read(layer, 0, limit) == [1, 2, 3][:limit]


async def test_read_in_pages_gives_the_whole_log(trimmed):
    after, seen = 3, []
    while page := await read(trimmed, after, 2):
        seen += page
        after = page[-1]
    assert seen == [4, 5, 6, 7, 8]


async def test_read_of_an_empty_log_is_empty_and_not_a_gap(layer):
    assert await read(layer, 0) == []


async def test_read_of_an_unknown_session_reports_a_gap_without_a_turn(layer):
    snapshot = await gap_at(layer, Cursor("gone", 5))
    assert (snapshot.turn_id, snapshot.text, snapshot.terminal, snapshot.offset) == (None, None, None, 0)
    assert snapshot.epoch == (await layer.ensure(S)).epoch


# Snapshots: the newest turn's text so far, wherever its frames are.


async def test_a_snapshot_of_a_running_turn_has_no_terminal(layer):
    turn = await start(layer)
    await say(layer, turn, "a", "b")
    snapshot = await gap_at(layer, UNKNOWN)
    assert (snapshot.turn_id, snapshot.text, snapshot.terminal, snapshot.offset) == (turn.turn_id, "ab", None, 3)


async def test_a_snapshot_before_the_first_token_is_empty_text(layer):
    turn = await start(layer)
    snapshot = await gap_at(layer, UNKNOWN)
    assert (snapshot.turn_id, snapshot.text) == (turn.turn_id, "")


async def test_a_snapshot_of_an_ended_turn_says_how_it_ended(layer):
    turn = await start(layer)
    await say(layer, turn, "a")
    await layer.finish(turn, frames.error(turn.turn_id, UpstreamEof()))
    snapshot = await gap_at(layer, UNKNOWN)
    assert (snapshot.text, shown(snapshot.terminal)) == ("a", "error:upstream_eof")


async def test_a_snapshot_is_of_the_newest_turn_only(layer):
    await answer(layer, "hi", "old")
    turn = await start(layer)
    await say(layer, turn, "new")
    snapshot = await gap_at(layer, UNKNOWN)
    assert (snapshot.turn_id, snapshot.text, snapshot.terminal) == (turn.turn_id, "new", None)


async def test_a_snapshot_holds_the_text_of_tokens_and_of_nothing_else(layer):
    turn = await start(layer)
    await say(layer, turn, "a")
    await layer.append(turn, [frames.event(turn.turn_id, {"type": "tool_call", "token": "x"})])
    await layer.append(turn, [frames.notice(turn.turn_id, "code", "words")])
    await say(layer, turn, "b")
    assert (await gap_at(layer, UNKNOWN)).text == "ab"


async def test_a_snapshot_holds_text_whose_frames_were_trimmed(store):
    layer = await store.layer(Bounds(max_frames=3))
    turn = await start(layer)
    for i in range(20):
        await say(layer, turn, f"{i},")
        assert (await gap_at(layer, UNKNOWN)).text == "".join(f"{n}," for n in range(i + 1))


async def test_a_snapshot_forgets_the_trimmed_text_of_turns_before(store):
    layer = await store.layer(Bounds(max_frames=2))
    await answer(layer, "hi", *"abcdef")
    turn = await start(layer)
    await say(layer, turn, "x")
    assert (await gap_at(layer, UNKNOWN)).text == "x"


async def test_a_snapshot_survives_the_trimming_of_the_terminal_itself(store):
    layer = await store.layer(Bounds(max_bytes=10))
    await answer(layer, "hi", "a")
    snapshot = await gap_at(layer, UNKNOWN)
    assert (snapshot.text, shown(snapshot.terminal)) == ("a", "final:stop")


async def test_a_snapshot_joins_half_characters_as_json_does(layer):
    turn = await start(layer)
    await say(layer, turn, "\ud83d", "\ude00", '"')
    assert (await gap_at(layer, UNKNOWN)).text == r"\ud83d\ude00\""


async def test_the_turn_in_flight_is_trimmed_last(store):
    layer = await store.layer(Bounds(max_frames=4))
    await answer(layer, "old", "a", "b")
    turn = await start(layer, "new")
    await say(layer, turn, "x", "y", "z")
    assert [frame.turn_id for frame in await whole_log(layer)] == [turn.turn_id] * 4


async def test_the_beginning_of_the_turn_in_flight_is_known_even_when_trimmed(store):
    layer = await store.layer(Bounds(max_frames=3))
    await answer(layer)
    turn = await start(layer)
    await say(layer, turn, *"abcd")
    state = await layer.ensure(S)
    assert (state.active_after, state.oldest, state.newest) == (2, 5, 7)


async def test_the_snapshot_of_a_running_turn_has_its_message_also_where_its_frame_is_trimmed(store):
    layer = await store.layer(Bounds(max_frames=2))
    turn = await start(layer, "q")
    await say(layer, turn, *"abc")
    snapshot = await gap_at(layer, await cursor_at(layer, 0))
    assert (snapshot.text, snapshot.message) == ("abc", '{"type":"user_message","content":"q"}')
    await stop(layer, turn)
    snapshot = await gap_at(layer, await cursor_at(layer, 0))
    assert (snapshot.text, snapshot.message) == ("abc", None)
