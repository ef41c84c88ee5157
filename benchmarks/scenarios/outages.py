"""Clients that lose their connection: because the network does, or because the gateway is restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import chain

from benchmarks.followers import Asker, Follower, follower_of, following, lost_tokens
from benchmarks.load_agent import order
from benchmarks.load_client import Tally, until
from benchmarks.loads import LAST_TOKENS_SECONDS
from benchmarks.measure import percentile
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale
from benchmarks.systems import KEEPS_SESSIONS, System

DROP_RATE = 5  # tokens a second and session
AWAY_SECONDS, PERIOD_SECONDS = 2.0, 10.0  # a connection is lost for so long, so often
PEER_DROP_SECONDS = 20.0
FIRST_SECONDS = 1.0  # for all viewers to have a token
DEPLOY_RATE, DEPLOY_TOKENS = 1, 5
RESTART_SECONDS = 150.0  # for all workers to be replaced


async def drop(rig: Rig, scale: Scale) -> Figures:
    """Each viewer loses its connection for 2 seconds in every 10, while sessions answer without a pause.

    The gateway for two minutes, peers for 20 seconds, which does not change the share. Whole again: from the start
    of the next handshake until the viewer has every frame that the log had then. A viewer of a peer without offsets
    cannot tell.
    """
    names = rig.new_sessions(scale.outage_sessions)
    followers = [follower_of(rig, name) for name in names for _ in range(scale.drop_viewers)]
    askers = [follower_of(rig, name) for name in names]
    seconds = drop_seconds(scale, rig.system)
    period_seconds = min(PERIOD_SECONDS, seconds / 2)
    tokens = round(DROP_RATE * (seconds + period_seconds + FIRST_SECONDS))
    async with following([*followers, *askers]):
        await until(lambda: all(each.is_open for each in (*followers, *askers)), LAST_TOKENS_SECONDS)
        for asker in askers:
            asker.say(order(tokens, DROP_RATE))
        # Socket.IO recovers nothing for a client that has not received anything yet.
        await until(lambda: all(each.tally.tokens for each in followers), LAST_TOKENS_SECONDS)
        async with rig.window(tallies=_tallies([*followers, *askers])) as windows, asyncio.TaskGroup() as group:
            for number, each in enumerate(followers):
                group.create_task(_interrupt(each, seconds, period_seconds, number / len(followers)))
        await until(lambda: all(each.tally.turns for each in followers), LAST_TOKENS_SECONDS)
    received = sum(min(each.tally.tokens, tokens) for each in followers)
    return {
        "delivered": received / tokens / len(followers),
        **_wholeness(list(chain.from_iterable(each.recoveries_ns for each in followers))),
        "cpu_us_per_frame": windows[0].figures()["cpu_us_per_frame"],
        "server_busy": windows[0].server.busy,
        "load_busy": windows[0].agent.busy + windows[0].client.busy,
        "lost": lost_tokens(followers, tokens),
    }


async def deploy(rig: Rig, scale: Scale) -> Figures:
    """A rolling restart: every worker is replaced while viewers watch sessions that ask and answer all the time.

    Whole again: from the end of a connection, including the 0.5 to 3 seconds after which the gateway asks each client
    to return, so that they do not come all at once. Seconds: until all workers are replaced, and all viewers whole.
    """
    names = rig.new_sessions(scale.outage_sessions)
    askers = {name: Asker(rig, name, DEPLOY_TOKENS, DEPLOY_RATE) for name in names}
    viewers = [Follower(rig, name) for name in names for _ in range(scale.deploy_viewers - 1)]
    followers = [*askers.values(), *viewers]
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for each in (viewers, list(askers.values())):  # all viewers see the first answer
            await stack.enter_async_context(following(each))
            await until(lambda each=each: all(follower.is_whole for follower in each), LAST_TOKENS_SECONDS)
        await asyncio.sleep(scale.warm_seconds)
        old = rig.worker_pids()
        async with rig.window(tallies=_tallies(followers)) as windows:
            started_at = loop.time()
            rig.replace_workers()
            await until(lambda: not old & rig.worker_pids(), RESTART_SECONDS)
            await until(lambda: all(follower.is_whole for follower in followers), LAST_TOKENS_SECONDS)
            seconds = loop.time() - started_at
        for asker in askers.values():
            asker.is_done = True
        last = {name: asker.tally.turns + 1 for name, asker in askers.items()}  # a question is always open
        await until(lambda: all(each.tally.turns >= last[each.session_id] for each in followers), LAST_TOKENS_SECONDS)
    if left := old & rig.worker_pids():
        raise RuntimeError(f"{len(left)} workers were not replaced within {RESTART_SECONDS:.0f} s")
    return {
        "seconds": seconds,
        **_wholeness(list(chain.from_iterable(follower.outages_ns for follower in followers))),
        "reconnects": sum(len(follower.outages_ns) for follower in followers) / len(followers),
        "server_busy": windows[0].server.busy,
        "load_busy": windows[0].agent.busy + windows[0].client.busy,
        "lost": sum(lost_tokens([each], last[each.session_id] * DEPLOY_TOKENS) for each in followers),
    }


def drop_seconds(scale: Scale, system: System) -> float:
    """Return for how long connections are cut."""
    return scale.drop_seconds if KEEPS_SESSIONS in system.can else min(scale.drop_seconds, PEER_DROP_SECONDS)


async def _interrupt(follower: Follower, seconds: float, period_seconds: float, phase: float) -> None:
    """Cut a follower's connection again and again, the first time somewhere in the first period."""
    away_seconds = AWAY_SECONDS / PERIOD_SECONDS * period_seconds
    await asyncio.sleep(phase * (period_seconds - away_seconds))
    for _ in range(round(seconds / period_seconds)):
        follower.cut(away_seconds)
        await asyncio.sleep(period_seconds)


def _tallies(followers: Sequence[Follower]) -> tuple[Tally, ...]:
    return tuple(each.tally for each in followers)


def _wholeness(times_ns: list[int]) -> Figures:
    """Return how long viewers waited until they had missed nothing; nothing of systems that cannot tell."""
    if not times_ns:
        return {}
    ordered = sorted(times_ns)
    return {
        "whole_p50_ms": percentile(ordered, 0.5) / 1e6,
        "whole_p99_ms": percentile(ordered, 0.99) / 1e6,
        "whole_longest_ms": ordered[-1] / 1e6,
    }
