"""The model of all agents of this folder: a person's last message names what it answers. Pure of any framework."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

TOOL = "look_up"
RESULT = "21 degrees"


class Thought(NamedTuple):
    text: str


class Arguments(NamedTuple):
    """A piece of a tool call's arguments: JSON, in pieces."""

    text: str
    is_first: bool


async def answer(said: Sequence[str], result: str | None = None) -> AsyncIterator[str | Thought | Arguments]:
    """Yield the pieces of an answer; a text is a token.

    Args:
        said: what the person has said, the newest last.
        result: of the tool, after a call of it.
    """
    await asyncio.sleep(0)
    if result is not None:
        yield f"It is {result}."
        return
    match said[-1]:
        case "tool":
            yield Arguments('{"city":', is_first=True)
            yield Arguments(' "Paris"}', is_first=False)
        case "think":
            for thought in ("Let", " me", " see."):
                yield Thought(thought)
            yield "Done."
        case "fail":
            yield "Half"
            raise RuntimeError("the model fell over")
        case "endless":
            async for tick in _ticks():
                yield tick
        case "recall":
            yield " | ".join(said)
        case _:
            for token in ("One", " two", " three"):
                yield token


async def _ticks() -> AsyncIterator[str]:
    try:
        while True:
            yield "tick "
            await asyncio.sleep(0.02)
    finally:
        print("the endless answer was stopped", flush=True)
