"""Clients that come back all at once."""

from __future__ import annotations

import asyncio
import itertools

from benchmarks.loads import all_arrived, count_lost, fill
from benchmarks.measure import peak_memory_bytes, reset_peak_memory, resident_bytes
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale


async def resume_storm(rig: Rig, scale: Scale) -> Figures:
    """Many clients that reconnect at once, each with an answer to replay."""
    sessions = rig.new_sessions(scale.resume_sessions)
    before_bytes = rig.memory_bytes()
    cursors = dict(zip(sessions, await fill(rig, sessions, scale.resume_tokens), strict=True))
    kept_bytes = rig.memory_bytes() - before_bytes
    reads_before = await rig.store_reads()
    reset_peak_memory(rig.server_pids)
    steady_bytes = resident_bytes(rig.server_pids)
    returning = list(itertools.islice(itertools.cycle(sessions), scale.resume_clients))
    async with rig.window() as windows:
        viewers = await asyncio.gather(
            *(rig.view(name, resumable=True, query=f"epoch={cursors[name]}&offset=1") for name in returning)
        )
        await all_arrived(viewers)
    reads = await rig.store_reads()
    read_figures = {"store_reads_per_session": (reads - reads_before) / scale.resume_sessions} if reads else {}
    return {
        **read_figures,
        "cpu_us_per_frame": windows[0].figures()["cpu_us_per_frame"],
        "seconds": windows[0].server.at_seconds,
        "memory_peak_ratio": peak_memory_bytes(rig.server_pids) / steady_bytes,
        "memory_bytes_per_token": kept_bytes / (scale.resume_sessions * scale.resume_tokens),
        "lost": count_lost(viewers, scale.resume_tokens),
    }
