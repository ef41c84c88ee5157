"""Answers: paced, at full speed, to many viewers, beside crowds and strangers."""

from __future__ import annotations

import asyncio

from benchmarks.load_client import Tally, Viewer
from benchmarks.loads import burst_load, fill, growth, paced_load
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale


async def paced(rig: Rig, scale: Scale) -> Figures:
    """Many sessions, each at the speed of a fast model."""
    return await paced_load(rig, scale, scale.sessions)


async def kept_runs(rig: Rig, scale: Scale) -> Figures:
    """The paced load, and the same of agents that keep their runs, so that each token has a position."""
    plain = await paced_load(rig, scale, scale.sessions)
    kept = await paced_load(rig, scale, scale.sessions, is_kept=True)
    return {**kept, "lost": kept["lost"] + plain["lost"], **growth(plain, kept)}


async def burst(rig: Rig, scale: Scale) -> Figures:
    """Answers at full speed: frames per second when the server uses its whole core."""
    await burst_load(rig, sessions=scale.burst_sessions, tokens=scale.burst_tokens // 10)
    return await burst_load(rig, sessions=scale.burst_sessions, tokens=scale.burst_tokens)


async def fan_out(rig: Rig, scale: Scale) -> Figures:
    """One session with many viewers, compared with as many sessions with one viewer each: the same number of frames."""
    single = await paced_load(rig, scale, scale.fan_out_viewers)
    shared = await paced_load(rig, scale, 1, viewers=scale.fan_out_viewers)
    return {**shared, "lost": shared["lost"] + single["lost"], **growth(single, shared)}


async def long_answer(rig: Rig, scale: Scale) -> Figures:
    """A very long answer, compared with short ones."""
    short, long = scale.long_tokens
    await burst_load(rig, sessions=1, tokens=long // 10)  # warm
    short_figures = await burst_load(rig, sessions=1, tokens=short, turns=min(long // short, 10))
    long_figures = await burst_load(rig, sessions=1, tokens=long)
    lost = short_figures["lost"] + long_figures["lost"]
    return {**long_figures, "lost": lost, **growth(short_figures, long_figures)}


async def crowd_of_sockets(rig: Rig, scale: Scale) -> Figures:
    """The paced load, with few and with many other open sockets."""
    few, many = scale.crowd_sockets
    await rig.view_all(rig.new_sessions(few))
    first = await paced_load(rig, scale, scale.sessions)
    await rig.view_all(rig.new_sessions(many - few))
    second = await paced_load(rig, scale, scale.sessions)
    return {**second, "lost": first["lost"] + second["lost"], **growth(first, second)}


async def crowd_of_sessions(rig: Rig, scale: Scale) -> Figures:
    """The paced load, with few and with many other sessions kept by the layer."""
    few, many = scale.crowd_sessions
    await fill(rig, rig.new_sessions(few), tokens=1)
    first = await paced_load(rig, scale, scale.sessions)
    await fill(rig, rig.new_sessions(many - few), tokens=1)
    second = await paced_load(rig, scale, scale.sessions)
    return {**second, "lost": first["lost"] + second["lost"], **growth(first, second)}


async def mixed(rig: Rig, scale: Scale) -> Figures:
    """The paced load, while visitors connect, get an answer at full speed, and leave."""
    visits = Tally()
    visiting = asyncio.create_task(_visit_for_ever(rig, scale, visits))
    try:
        return await paced_load(rig, scale, scale.sessions, others=(visits,))
    finally:
        visiting.cancel()
        await asyncio.gather(visiting, return_exceptions=True)


async def noisy_strangers(rig: Rig, scale: Scale) -> Figures:
    """The paced load of a few sessions, while strangers continuously send pings and bodies in the smallest pieces."""
    alone = await paced_load(rig, scale, scale.disturbed_sessions)
    with rig.strangers(scale.strangers):
        beside = await paced_load(rig, scale, scale.disturbed_sessions)
    return {**beside, "lost": alone["lost"] + beside["lost"], "longest_ms_before": alone["longest_ms"]}


async def _visit_for_ever(rig: Rig, scale: Scale, tally: Tally) -> None:
    while True:
        name = rig.new_sessions(1)[0]
        visitor = await rig.view(name, viewer=Viewer(tally))
        await rig.ask(visitor, name, tokens=scale.visitor_tokens)
        await asyncio.sleep(1 / scale.visitors_per_second)
        await rig.leave([visitor])
