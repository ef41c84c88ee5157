"""A Python function that continues behind a cursor: cut anywhere its answer is the same, or it ends in an error."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from relay.agent.function import FunctionAgent, Marked
from relay.exceptions import Interrupted, UpstreamEof
from tests.unit.agent.test_rejoining import turn

VALUES = ["a ", {"type": "note", "x": 1}, "größer ", "b ", "c "]


def brief(frames):
    return [(frame.kind, frame.body, frame.members) for frame in frames]


class Counting:
    """A function that says ``VALUES``, from ``start(cursor)`` on; it waits before one of them."""

    def __init__(self, start=int, wait_at=None, mark=str):
        self._start = start
        self._wait_at = wait_at
        self._mark = mark
        self.cursors = []

    async def __call__(self, message, session, cursor):
        self.cursors.append(cursor)
        for number in range(self._start(cursor) if cursor else 0, len(VALUES)):
            if number == self._wait_at:
                await asyncio.Event().wait()
            yield Marked(VALUES[number], self._mark(number + 1))


async def read(answer, until=None):
    """Read an answer to its end, or until it has so many frames. Gives the frames and the position."""
    frames = []
    async with asyncio.timeout(30), aclosing(answer.batches()) as batches:
        while until is None or len(frames) < until:
            try:
                frames += await anext(batches)
            except StopAsyncIteration:
                break
        return frames, answer.position


async def cut(at, **others):
    """The frames of a function that is cut behind so many values, and the rest of the answer by another worker."""
    frames, position = await read(FunctionAgent(Counting(wait_at=at, **others)).ask(turn()), until=at)
    return frames, FunctionAgent(Counting(**others)).go_on(turn(position=position), frames, is_whole=True)


@pytest.mark.parametrize("mark", [str, "m{}".format])
@pytest.mark.parametrize("at", range(1, len(VALUES)))
async def test_cut_behind_any_value_the_answer_is_the_same(at, mark):
    expected, _ = await read(FunctionAgent(Counting()).ask(turn()))
    frames, rest = await cut(at, mark=mark, start=lambda cursor: int(cursor.removeprefix("m")))
    frames += (await read(rest))[0]
    assert brief(frames) == brief(expected)
    assert sum(frame.is_terminal for frame in frames) == 1


async def test_before_its_first_value_nothing_can_continue():
    answer = FunctionAgent(Counting(wait_at=0)).ask(turn())
    reading = asyncio.ensure_future(read(answer))
    await asyncio.sleep(0)
    assert answer.position is None
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize("at", range(1, len(VALUES)))
@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda cursor: 0, id="starts again"),
        pytest.param(lambda cursor: int(cursor) - 1, id="repeats its last"),
        pytest.param(lambda cursor: max(int(cursor) - 2, 0), id="goes back"),
    ],
)
async def test_a_function_that_says_again_what_was_said_ends_in_an_error(at, start):
    _, rest = await cut(at, start=start)
    with pytest.raises(Interrupted):
        await read(rest)
    assert "does not follow" in rest.evidence.cause


async def test_marks_that_go_back_in_one_call_are_an_error():
    answer = FunctionAgent(Counting(mark=lambda number: str(number % 3))).ask(turn())
    with pytest.raises(UpstreamEof):
        await read(answer)


@pytest.mark.parametrize("mark", ["m{}".format, lambda number: f"m{number}" if number < 3 else str(number)])
async def test_marks_that_are_no_numbers_need_only_differ(mark):
    assert len((await read(FunctionAgent(Counting(mark=mark)).ask(turn())))[0]) == len(VALUES) + 1
