"""What a store does for the gateway, and what the gateway needs for the store."""

from __future__ import annotations

from benchmarks.loads import paced_load
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale


async def stores(rig: Rig, scale: Scale) -> Figures:
    """The paced load on one server, and on a cluster of three primaries without replicas, all on the load's core.

    Calls, bytes (in and out) and CPU of the store are the servers' own accounts, in sum.
    """
    return await paced_load(rig, scale, scale.sessions)
