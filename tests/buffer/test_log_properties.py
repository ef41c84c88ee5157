"""Whatever is appended, trimmed and cancelled, every viewer sees one gapless sequence, or a gap it is told of.

Hypothesis makes up the history; each example has a store of its own.
"""

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.exceptions import TurnCancelled
from relay.layers.bounds import Bounds
from relay.layers.values import SessionState, new_id
from relay.protocol import frames
from relay.protocol.cursor import UNKNOWN, Cursor
from relay.protocol.frames import FrameKind, ReplayGap
from relay.testing.turns import LIMIT_SECONDS, S, claim, enqueue, message, stop, tokens
from tests.properties import examples


class Screen:
    """A client that shows what it is told: texts of turns, put together from frames and snapshots.

    It checks what the protocol promises: after a snapshot, and after each frame, the next offset.
    """

    def __init__(self, layer, position):
        self.texts = {}
        self.ends = {}
        self.gaps = 0
        self._layer = layer
        self._position = position
        self._tail = None

    @property
    def offset(self):
        return self._position.offset

    async def next_batch(self):
        """Take one batch, or one gap."""
        if self._tail is None:
            self._tail = self._layer.tail(S, self._position)
        try:
            batch = await anext(self._tail)
        except ReplayGap as gap:
            self._tail = None
            self._put(gap.snapshot)
            return
        for frame in batch:
            assert frame.offset == self._position.offset + 1
            self._position = Cursor(self._position.epoch, frame.offset)
            self._show(frame)

    async def catch_up(self, newest):
        async with asyncio.timeout(LIMIT_SECONDS):
            while self._position.offset != newest:
                await self.next_batch()

    async def close(self):
        if self._tail is not None:
            await self._tail.aclose()

    def _show(self, frame):
        if frame.kind is FrameKind.USER_MESSAGE:
            self.texts[frame.turn_id] = ""
        elif frame.kind is FrameKind.TOKEN:
            assert frame.turn_id not in self.ends, "a token after the end"
            self.texts[frame.turn_id] = self.texts.get(frame.turn_id, "") + frame.token_text
        elif frame.is_terminal:
            assert frame.turn_id not in self.ends, "a second end"
            self.ends[frame.turn_id] = frame.members

    def _put(self, snapshot):
        self.gaps += 1
        assert (snapshot.epoch, snapshot.offset) != (self._position.epoch, self._position.offset)
        self._position = Cursor(snapshot.epoch, snapshot.offset)
        if snapshot.turn_id is not None:
            self.texts[snapshot.turn_id] = snapshot.text
            if snapshot.terminal is not None:
                self.ends[snapshot.turn_id] = snapshot.terminal.members


SIZES = {  # the measure of ``Bounds.max_bytes``
    "memory": lambda frame: frame.size,
    "redis": lambda frame: len(f"{frame.body}{frame.members}".encode()),
}
SIZES["cluster"] = SIZES["redis"]
word = st.text(alphabet='abcé😀\ud83d"\\', max_size=4)
step = st.one_of(
    st.tuples(st.just("append"), st.lists(word, max_size=5)),
    st.tuples(st.just("other"), st.none()),
    st.tuples(st.just("repeat"), st.none()),
    st.tuples(st.just("cancel"), st.none()),
    st.tuples(st.just("finish"), st.none()),
    st.tuples(st.just("look"), st.integers(0, 3)),
    st.tuples(st.just("join"), st.integers(0, 3)),
)
# The refused append makes the position unknown where the turn runs: a repetition must not be taken for news there.
A_REPETITION_AFTER_A_REFUSAL = [("look", 0), ("other", None), ("cancel", None), ("other", None), ("repeat", None)]
A_LOG_THAT_IS_FULL_IN_BYTES_ONLY = [("append", ["\\😀"])]  # 99 characters, of which one takes four bytes
small_bounds = st.builds(Bounds, max_frames=st.integers(1, 12), max_bytes=st.sampled_from([100, 400, 1_500, 100_000]))


@pytest.mark.hypothesis
def test_every_viewer_ends_with_the_same_texts_and_ends(make_store, backend):
    @given(bounds=small_bounds, history=st.lists(step, max_size=40))
    @example(bounds=Bounds(max_frames=2, max_bytes=400), history=A_REPETITION_AFTER_A_REFUSAL)
    @example(bounds=Bounds(max_frames=2, max_bytes=100), history=A_LOG_THAT_IS_FULL_IN_BYTES_ONLY)
    @examples(120)
    def they_do(bounds, history):
        with asyncio.Runner() as runner:
            runner.run(_every_viewer_ends_the_same(make_store(), bounds, history, SIZES[backend]))

    they_do()


async def _every_viewer_ends_the_same(store, bounds, history, size):
    story = Story(await store.layer(bounds), bounds, size)
    await story.join(1)
    for action, argument in history:
        await story.begin_turn()
        await getattr(story, action)(argument)
        await story.the_state_is_what_the_model_says()
    await story.end()
    await store.close()


class Story:
    """One session's history, and what its viewers must end up with."""

    def __init__(self, layer, bounds, size):
        self.screens = []
        self._layer = layer
        self._bounds = bounds
        self._epoch = None
        self._kept = []  # the frames' sizes
        self._size = size
        self._newest = self._active_after = 0
        self._is_cancelling = False
        self._texts, self._ends = {}, {}
        self._turn = None

    async def begin_turn(self):
        if self._turn is None:
            new_turn = message()
            await self._layer.enqueue(S, new_turn)
            self._turn = await claim(self._layer)
            self._texts[self._turn.turn_id] = ""
            self._active_after = self._newest
            self._keep(frames.user_message(new_turn.turn_id, new_turn.body))

    async def append(self, texts):
        new = tokens(self._turn, *texts)
        with contextlib.suppress(TurnCancelled):
            await self._layer.append(self._turn, new)
            self._texts[self._turn.turn_id] += "".join(frame.token_text for frame in new)
            self._keep(*new)

    async def other(self, _):
        with contextlib.suppress(TurnCancelled):
            event = frames.event(self._turn.turn_id, {"type": "tool_call"})
            await self._layer.append(self._turn, [event])
            self._keep(event)

    async def repeat(self, _):
        if self._turn.append_number:
            self._turn.append_number -= 1
            await self._layer.append(self._turn, tokens(self._turn, "never stored"))

    async def cancel(self, _):
        await self._layer.cancel(S)
        self._is_cancelling = True

    async def finish(self, _):
        terminal = await stop(self._layer, self._turn)
        self._ends[self._turn.turn_id] = terminal.members
        self._keep(terminal)
        self._turn, self._is_cancelling = None, False

    async def look(self, number):
        screen = self.screens[number % len(self.screens)]
        if (await self._layer.ensure(S)).newest != screen.offset:
            await screen.next_batch()

    async def join(self, where):
        state = await self._layer.ensure(S)
        offset = [state.oldest - 1, state.newest, state.active_after, max(state.oldest - 2, 0)][where]
        self.screens.append(Screen(self._layer, Cursor(state.epoch, offset)))

    def _keep(self, *new):
        self._newest += len(new)
        self._kept += map(self._size, new)
        while len(self._kept) > self._bounds.max_frames or sum(self._kept) > self._bounds.max_bytes:
            del self._kept[0]

    async def the_state_is_what_the_model_says(self):
        state = await self._layer.get(S)
        self._epoch = self._epoch or state.epoch
        assert state == SessionState(
            session_id=S,
            epoch=self._epoch,
            oldest=self._newest - len(self._kept) + 1,
            newest=self._newest,
            active_turn_id=self._turn and self._turn.turn_id,
            active_after=self._active_after if self._turn else self._newest,
            is_cancelling=self._is_cancelling,
            queued=(),
            viewers=0,
            is_empty=False,
            idle_seconds=0.0,
            age_seconds=0.0,
        )

    async def end(self):
        """See that every viewer, when it has caught up, shows what was said."""
        if self._turn is not None:
            await self.finish(None)
        newest_offset = (await self._layer.ensure(S)).newest
        for screen in self.screens:
            await screen.catch_up(newest_offset)
            await screen.close()
            assert screen.ends.items() <= self._ends.items()
            for turn_id, text in screen.texts.items():
                assert screen.gaps or self._texts[turn_id].endswith(text)
        first, newest = self.screens[0], next(reversed(self._texts), None)
        assert first.texts.get(newest) == self._texts.get(newest)
        assert first.gaps or first.texts == self._texts


@pytest.mark.hypothesis
def test_concurrent_tails_see_the_whole_text_while_it_is_written(make_store):
    @given(
        bounds=small_bounds,
        appends=st.lists(st.lists(word, max_size=6), max_size=12),
        joins=st.lists(st.integers(0, 12), max_size=3),
        pauses=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    )
    @examples(120)
    def they_do(bounds, appends, joins, pauses):
        with asyncio.Runner() as runner:
            runner.run(_concurrent_tails(make_store(), bounds, appends, joins, pauses))

    they_do()


async def _concurrent_tails(store, bounds, appends, joins, pauses):
    layer = await store.layer(bounds)
    begin = Cursor((await layer.ensure(S)).epoch, 0)
    screens = [Screen(layer, begin), Screen(layer, begin), *(Screen(layer, UNKNOWN) for _ in joins)]
    whole = "".join(frame.token_text for texts in appends for frame in tokens(_NamedTurn, *texts))

    async def follow(screen, pauses):
        while not screen.ends:
            for _ in range(next(pauses)):
                await asyncio.sleep(0)
            await screen.next_batch()

    async def write():
        await enqueue(layer)
        turn = await claim(layer)
        for texts, pause in zip(appends, itertools.cycle(pauses), strict=False):
            await layer.append(turn, tokens(turn, *texts))
            for _ in range(pause):
                await asyncio.sleep(0)
        await stop(layer, turn)
        return turn.turn_id

    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        for i, screen in enumerate(screens):
            group.create_task(follow(screen, itertools.cycle([*pauses[i % len(pauses) :], 0])))
        writing = group.create_task(write())
    for screen in screens:
        assert screen.texts[writing.result()] == whole
        await screen.close()
    await store.close()


class _NamedTurn:
    turn_id = new_id()
