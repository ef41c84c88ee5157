"""The model of all agents of this folder: a person's last message names what it answers. Pure of any framework."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

TOOL = "look_up"
SLOWLY = tuple(f"{number} " for number in range(30))


class Thought(NamedTuple):
    text: str


class Arguments(NamedTuple):
    """A piece of a tool call's arguments: JSON, in pieces."""

    text: str
    is_first: bool


async def answer(said: Sequence[str], result: str | None = None) -> AsyncIterator[str | Thought | Arguments]:
    """Yield the pieces of an answer; a text is a token.

    Args:
        said: the system prompt, if there is one, and what the person has said, the newest last.
        result: of the tool, after a call of it.
    """
    message = said[-1]
    if result is not None:
        yield f"It is {result}."
        return
    if "think" in message:
        for thought in ("Let", " me", " see."):
            yield Thought(thought)
    if "tool" in message:
        yield Arguments('{"city":', is_first=True)
        yield Arguments(' "Nowhere"}' if "broken" in message else ' "Paris"}', is_first=False)
        return
    if message == "endless":
        async for tick in _ticks():
            yield tick
    tokens = {"think": ["Done."], "fail": ["Half"], "recall": [" | ".join(said)], "slowly": list(SLOWLY)}
    for token in tokens.get(message, ["One", " two", " three"]):
        yield token
        await asyncio.sleep(0.02 if message == "slowly" else 0)
    if message == "fail":
        raise RuntimeError("the model fell over")


def weather(city: str) -> str:
    """Give a tool's result.

    Raises:
        LookupError: there is no such city.
    """
    if city == "Nowhere":
        raise LookupError("no such city")
    return "21 degrees"


async def _ticks() -> AsyncIterator[str]:
    try:
        while True:
            yield "tick "
            await asyncio.sleep(0.02)
    finally:
        print("the endless answer was stopped", flush=True)
