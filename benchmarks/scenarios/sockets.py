"""Sockets: idle ones, and handshakes."""

from __future__ import annotations

import asyncio
import resource

from benchmarks.measure import kernel_bytes
from benchmarks.rig import Figures, Rig
from benchmarks.scale import Scale
from benchmarks.systems import System

SPARE_FILES = 300  # of a process, beside its sockets
FIRST_SOCKETS = 10


async def idle(rig: Rig, scale: Scale) -> Figures:
    """Idle sockets. Memory: what the processes hold more of (proportional set size) after the sockets have opened."""
    return await _idle(rig, scale, scale.idle_sockets)


async def idle_crowd(rig: Rig, scale: Scale) -> Figures:
    """50,000 idle sockets, or as many as the server's processes may have files, from several addresses and processes.

    Published by their authors, on other machines and counted in their own ways: Centrifugo, untuned, 27 kB per socket
    and 4.7 µs of CPU per socket and second; AnyCable PRO 18 kB.
    """
    return await _idle(rig, scale, crowd(scale, rig.system))


def crowd(scale: Scale, system: System) -> int:
    """Return how many sockets a system's workers may have, up to the scale's number."""
    return min(scale.idle_crowd, most_sockets() * system.cores)


def most_sockets() -> int:
    """Return how many sockets one process may have."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most_files - SPARE_FILES


async def connect_storm(rig: Rig, scale: Scale) -> Figures:
    """Handshakes at full speed, without other open sockets and with many."""
    await _storm(rig, scale.storm_sockets)  # warm
    alone = await _storm(rig, scale.storm_sockets)
    others = await rig.view_all(rig.new_sessions(scale.idle_sockets))
    crowded = await _storm(rig, scale.storm_sockets)
    await rig.leave(others)
    return {
        **crowded,
        "handshakes_per_second_alone": alone["handshakes_per_second"],
        "handshakes_ratio": crowded["handshakes_per_second"] / alone["handshakes_per_second"],
    }


async def _idle(rig: Rig, scale: Scale, sockets: int) -> Figures:
    # A few, so that all is loaded and set up; not many, because later sockets use the memory that they leave behind.
    await rig.leave(await rig.view_all(rig.new_sessions(FIRST_SOCKETS)))
    empty_bytes, empty_kernel_bytes = rig.memory_bytes(), kernel_bytes()
    shares = _shares(sockets)
    own = rig.new_sessions(shares[0])
    async with rig.holding(shares[1:]):
        viewers = await asyncio.gather(*(rig.view(name, is_patient=True) for name in own))
        await asyncio.sleep(scale.settle_seconds)
        async with rig.window() as windows:
            await asyncio.sleep(scale.idle_seconds)
        full_bytes, full_kernel_bytes = rig.memory_bytes(), kernel_bytes()
    await rig.leave(viewers)
    used = windows[0].server
    return {
        "sockets": sockets,
        "memory_bytes_per_socket": (full_bytes - empty_bytes) / sockets,
        "kernel_bytes_per_socket": (full_kernel_bytes - empty_kernel_bytes) / sockets / 2,  # both ends are here
        "cpu_us_per_socket_second": used.cpu_seconds * 1e6 / sockets / used.at_seconds,
    }


def _shares(sockets: int) -> list[int]:
    """Divide sockets among as many client processes as are needed for them, of which this one is the first."""
    clients = -(-sockets // most_sockets())
    return [sockets // clients + (number < sockets % clients) for number in range(clients)]


async def _storm(rig: Rig, sockets: int) -> Figures:
    names = rig.new_sessions(sockets)
    async with rig.window() as windows:
        viewers = await rig.view_all(names)
    await rig.leave(viewers)
    used = windows[0].server
    return {
        "handshakes_per_second": sockets / used.at_seconds,
        "cpu_us_per_handshake": used.cpu_seconds / sockets * 1e6,
    }
