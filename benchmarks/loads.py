"""The loads that scenarios are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from benchmarks.load_client import Tally, Viewer, until
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale

RATE = 50  # tokens a second and session
SPARE_SECONDS = 0.5  # answers outlast the window by so much
LAST_TOKENS_SECONDS = 30.0  # for what a slow system still owes
FILLING = 50  # sessions at once


class Counts(Protocol):
    """A viewer, or a reader of a stream."""

    tokens: int
    errors: int
    is_in_order: bool


async def paced_load(
    rig: Rig,
    scale: Scale,
    sessions: int,
    *,
    viewers: int = 1,
    others: tuple[Tally, ...] = (),
    is_kept: bool = False,
) -> Figures:
    """Let sessions talk and measure in the middle; then wait for every token."""
    names = rig.new_sessions(sessions)
    watching = await rig.view_all(names * viewers)
    tokens = round(RATE * (scale.begin_seconds + scale.warm_seconds + scale.seconds + SPARE_SECONDS))
    asking = []
    for viewer, name in zip(watching, names, strict=False):
        asking.append(asyncio.create_task(rig.ask(viewer, name, tokens=tokens, rate=RATE, is_kept=is_kept)))
        await asyncio.sleep(scale.begin_seconds / sessions)
    await asyncio.gather(*asking)
    await asyncio.sleep(scale.warm_seconds)
    async with rig.window(tallies=others) as windows:
        await asyncio.sleep(scale.seconds)
        await until(lambda: bool(rig.tally.latencies_ns), LAST_TOKENS_SECONDS)  # none yet if the machine stood still
    await all_arrived(watching)
    lost = count_lost(watching, tokens)
    await rig.leave(watching)
    return {**windows[0].figures(), "lost": lost}


async def burst_load(rig: Rig, *, sessions: int, tokens: int, turns: int = 1) -> Figures:
    """Let each session answer at full speed, several times, and measure until every token has arrived."""
    names = rig.new_sessions(sessions)
    viewers = await rig.view_all(names)
    async with rig.window() as windows:
        for turn in range(1, turns + 1):
            for viewer, name in zip(viewers, names, strict=True):
                await rig.ask(viewer, name, tokens=tokens)
            await all_arrived(viewers, turn)
    lost = count_lost(viewers, tokens * turns)
    await rig.leave(viewers)
    return {**windows[0].figures(), "lost": lost}


async def all_arrived(viewers: list[Viewer], turns: int = 1) -> None:
    """Wait for complete answers; tokens that do not arrive count as lost."""
    await until(lambda: all(viewer.finals >= turns or viewer.is_closed for viewer in viewers), LAST_TOKENS_SECONDS)


def count_lost(viewers: Sequence[Counts], tokens: int) -> float:
    """Count lost and duplicate tokens; an answer in the wrong order or with an error counts as lost in whole."""
    return sum(
        abs(tokens - viewer.tokens) if viewer.is_in_order and not viewer.errors else tokens for viewer in viewers
    )


def growth(before: Figures, after: Figures) -> Figures:
    """Compare the CPU of a frame in two measurements."""
    return {
        "cpu_us_per_frame_before": before["cpu_us_per_frame"],
        "growth": after["cpu_us_per_frame"] / before["cpu_us_per_frame"],
    }


async def fill(rig: Rig, sessions: list[str], tokens: int) -> list[str]:
    """Give each session an answer to keep, and return their epochs."""
    epochs = []
    for first in range(0, len(sessions), FILLING):
        batch = sessions[first : first + FILLING]
        viewers = await asyncio.gather(*(rig.view(name, resumable=True) for name in batch))
        for viewer, name in zip(viewers, batch, strict=True):
            await rig.ask(viewer, name, tokens=tokens)
        await all_arrived(viewers)
        epochs += [viewer.epoch for viewer in viewers]
        await rig.leave(viewers)
    return epochs
