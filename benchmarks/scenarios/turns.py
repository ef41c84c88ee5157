"""Conversations of short turns: what a turn costs, rather than a token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.load_agent import CALL_A_TOOL, order
from benchmarks.load_client import Talker, until
from benchmarks.loads import LAST_TOKENS_SECONDS
from benchmarks.measure import percentile
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale
from benchmarks.systems import KEEPS_TRANSCRIPTS

TOKENS = 3  # of an answer
KEPT_SECONDS = 30.0  # for the last turns to be in the database

Message = dict[str, object]


async def turns(rig: Rig, scale: Scale) -> Figures:
    """Short questions, one after another on each socket, each with an answer of three tokens."""
    return await _conversations(rig, scale, _question, tokens_a_turn=TOKENS)


async def tool_turns(rig: Rig, scale: Scale) -> Figures:
    """Each question is answered with a tool call, and the tool's result, which is forwarded, with three tokens."""
    return await _conversations(rig, scale, _question_or_result, tokens_a_turn=TOKENS / 2)


def _question(number: int) -> Message:
    return {"type": "user_message", "content": order(TOKENS)}


def _question_or_result(number: int) -> Message:
    if number % 2 == 0:
        return {"type": "user_message", "content": CALL_A_TOOL}
    return {"type": "tool_result", "call_id": "c1", "result": order(TOKENS)}


async def _conversations(rig: Rig, scale: Scale, message: Callable[[int], Message], *, tokens_a_turn: float) -> Figures:
    talkers = [Talker(rig.tally, message) for _ in range(scale.talkers)]
    names = rig.new_sessions(scale.talkers)
    await asyncio.gather(*(rig.view(name, viewer=talker) for name, talker in zip(names, talkers, strict=True)))
    for talker in talkers:
        talker.ask()
    await asyncio.sleep(scale.warm_seconds)
    async with rig.window() as windows:
        await asyncio.sleep(scale.seconds)
        await until(lambda: bool(rig.tally.turn_times_ns), LAST_TOKENS_SECONDS)
    for talker in talkers:
        talker.is_done_at = talker.finals + 2 - talker.finals % 2  # a tool call is followed by its result
    await until(lambda: all(talker.is_done or talker.is_closed for talker in talkers), LAST_TOKENS_SECONDS)
    ended = sum(talker.finals for talker in talkers)
    lost = sum(abs(talker.tokens - talker.finals * tokens_a_turn) + talker.errors for talker in talkers)
    kept = await _kept(rig, names, ended)
    await rig.leave([*talkers])
    window = windows[0]
    times_ns = sorted(window.turn_times_ns)
    return {
        "cpu_us_per_turn": window.server.cpu_seconds / max(window.turns, 1) * 1e6,
        "turn_p50_ms": percentile(times_ns, 0.5) / 1e6,
        "turn_p99_ms": percentile(times_ns, 0.99) / 1e6,
        "turns_per_second": window.turns / window.server.at_seconds,
        **kept,
        "server_busy": window.server.busy,
        "load_busy": window.agent.busy + window.client.busy,
        "disturbed": window.server.disturbed,
        "lost": lost + sum(not talker.is_done for talker in talkers),
    }


async def _kept(rig: Rig, names: list[str], ended: int) -> Figures:
    """Return the share of the turns that is in the database in the end, of systems that write transcripts."""
    if KEEPS_TRANSCRIPTS not in rig.system.can:
        return {}
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + KEPT_SECONDS
    while (kept := rig.kept_turns(names)) < ended and loop.time() < give_up_at:
        await asyncio.sleep(0.1)
    return {"kept_turns": kept / ended}
