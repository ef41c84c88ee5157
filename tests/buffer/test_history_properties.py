"""A history by page: whatever ends, is written late, is trimmed or forgotten while it is read, each turn comes once.

Hypothesis makes up the order of events; each example has a store of its own, and a table in place of the database.
"""

from __future__ import annotations

import asyncio
from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.layers.bounds import Bounds
from relay.testing.turns import S, say, start, stop
from relay.transcripts.history import History
from relay.transcripts.kept_turn import KeptTurn, Part, Reader, place_of
from tests.properties import examples

READER = Reader(None)


class Table:
    """The transcripts as another worker's writer keeps them: in order, late, and not lost."""

    is_on = True

    def __init__(self):
        self.rows, self.waiting = [], []

    def write(self, count):
        for _ in range(min(count, len(self.waiting))):
            self.rows.append(self.waiting.pop(0))

    async def page(self, session_id, reader, before, bounds):
        earlier = (row for row in reversed(self.rows) if not before or row.place < before)
        turns = list(islice(earlier, bounds.turns + 1))
        return Part(turns[: bounds.turns], len(turns) <= bounds.turns)

    async def has(self, session_id, place):
        return any(row.place == place for row in self.rows)


class World:
    def __init__(self, store, layer):
        self.store, self.layer, self.table = store, layer, Table()
        self.history = History(layer, self.table)
        self.ended = []  # turn ids, in order
        self.running = None
        self._reading = None

    async def end(self, tokens):
        await self.begin(None)
        turn, self.running = self.running, None
        if tokens:
            await say(self.layer, turn, *"x" * tokens)
        terminal = await stop(self.layer, turn)
        self.ended.append(turn.turn_id)
        place = place_of(turn.epoch, terminal.offset)
        row = KeptTurn(turn_id=turn.turn_id, message="q", answer="x" * tokens, reason="answered", place=place)
        self.table.waiting.append(row)

    async def begin(self, _):
        if self.running is None:
            self.running = await start(self.layer)

    async def write(self, count):
        self.table.write(count)

    async def forget(self, _):
        """An hour passes, in which the writer has written all."""
        if self.running is None:
            self.table.write(99)
            if await self.layer.get(S) is not None:
                await self.store.forget(S)

    async def read(self, limit):
        """Read one page; of a history that was read to its end, look whether it was whole."""
        if self._reading is None:
            self._reading = [], "", list(self.ended)
        found, before, expected = self._reading
        page = await self.history.page(S, READER, before, limit)
        assert len(page.turns) <= limit
        found += [turn.turn_id for turn in page.turns]
        assert len(found) == len(set(found)), "a turn came twice"
        if not page.is_complete:
            self._reading = None  # a client asks again
        elif page.next is None:
            assert [turn_id for turn_id in found if turn_id in expected] == expected[::-1]
            assert found == [turn_id for turn_id in reversed(self.ended) if turn_id in found], "in order"
            self._reading = None
        else:
            self._reading = found, page.next, expected


step = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 3)),
    st.tuples(st.just("begin"), st.none()),
    st.tuples(st.just("write"), st.integers(1, 4)),
    st.tuples(st.just("forget"), st.none()),
    st.tuples(st.just("read"), st.integers(1, 4)),
    st.tuples(st.just("read"), st.integers(1, 9)),
)


@pytest.mark.hypothesis
def test_every_turn_comes_once_and_in_order_or_the_page_says_that_turns_are_missing(make_store):
    @given(max_frames=st.integers(1, 12), steps=st.lists(step, max_size=40))
    @example(8, [("end", 2), ("end", 2), ("read", 1), ("end", 9), ("read", 1), ("read", 1)])
    @example(8, [("end", 2), ("write", 1), ("forget", None), ("end", 2), ("read", 1), ("read", 1)])
    @examples(120)
    def it_does(max_frames, steps):
        with asyncio.Runner() as runner:
            runner.run(_every_turn_comes_once(make_store(), max_frames, steps))

    it_does()


async def _every_turn_comes_once(store, max_frames, steps):
    try:
        world = World(store, await store.layer(Bounds(max_frames=max_frames)))
        for name, argument in steps:
            await getattr(world, name)(argument)
        world.table.write(99)
        world._reading = None
        for _ in range(len(world.ended) + 1):
            await world.read(1)
            if world._reading is None:
                break
        assert world._reading is None
    finally:
        await store.close()
