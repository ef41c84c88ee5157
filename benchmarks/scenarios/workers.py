"""Several workers on one address and one store."""

from __future__ import annotations

from benchmarks.loads import burst_load, paced_load
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale


async def workers(rig: Rig, scale: Scale) -> Figures:
    """The paced load on one, two and four workers, and what they deliver at full speed.

    Each has a core if the machine has as many; otherwise they share those of the server, and only CPU can be compared.
    """
    paced = await paced_load(rig, scale, scale.sessions)
    full = await burst_load(rig, sessions=scale.worker_sessions, tokens=scale.burst_tokens // 4)
    return {
        **paced,
        "full_speed_frames_per_second": full["frames_per_second"],
        "full_speed_cpu_us_per_frame": full["cpu_us_per_frame"],
        "lost": paced["lost"] + full["lost"],
    }
