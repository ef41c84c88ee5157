"""Checks a store, for ``manage.py doctor``: of which kind it is, and each server's speed, clock, version and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec
from redis.exceptions import RedisError

from relay.addresses.cluster import parse_cluster_url
from relay.conf import PREFIX
from relay.layers.redis.connection import RedisConnection, pack
from relay.layers.redis.failures import IS_CLUSTER, IS_NO_CLUSTER, reason
from relay.layers.redis.questions import ask_any, uncovered
from relay.layers.redis.topology import Address
from relay.layers.redis.wire import Reply
from relay.management.finding import Finding, Level
from relay.management.terminal import counted

SUBJECT: Final = "store"
LIMIT_SECONDS: Final = 5.0
ROUND_TRIPS: Final = 20
SLOW_SECONDS: Final = 0.01  # every token waits for a round trip
SKEW_SECONDS: Final = 1.0  # tickets and credentials that expire can bear it
MIN_REDIS: Final = 7
MIN_VALKEY: Final = 8
_CORRECT: Final = f"Correct {PREFIX}REDIS_URL."
_ADVICE: Final = f"Is it running? Is {PREFIX}REDIS_URL right, including the password?"


async def examine_store(url: str) -> AsyncIterator[Finding]:
    """Judge the store at an address, and each server of it."""
    cluster = parse_cluster_url(url)
    if cluster is None:
        async for finding in _examine_server(url):
            yield finding
        return
    hosts = urlsplit(url).netloc.rpartition("@")[2]
    try:
        found = await ask_any(cluster, [Address(*node) for node in cluster.nodes])
    except (RedisError, OSError, ValueError) as exc:
        words = reason(exc)
        advice = _CORRECT if words == IS_NO_CLUSTER else _ADVICE
        yield Finding(Level.PROBLEM, SUBJECT, f"{hosts} cannot be used: {words}", advice)
        return
    words = f"{hosts}: a cluster of {counted(len(found.nodes), 'primary node')}"
    if failure := uncovered(found):
        advice = "Start the node that had them, or give them to another one (redis-cli --cluster fix)."
        yield Finding(Level.PROBLEM, SUBJECT, f"{words}: {failure}", advice)
    else:
        yield Finding(Level.OK, SUBJECT, words)
    for address in found.nodes:
        async for finding in _examine_server(cluster.of_node(*address), is_node=True):
            yield finding


async def _examine_server(url: str, *, is_node: bool = False) -> AsyncIterator[Finding]:
    """Measure round trips and the clock, and judge the server's kind, version and memory policy."""
    link = RedisConnection(url, timeout_seconds=LIMIT_SECONDS)
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or parts.path
    try:
        seconds, skews = [], []
        for _ in range(ROUND_TRIPS):
            started_at, asked_at = time.monotonic(), time.time()
            (moment,) = await _exchange(link, "TIME")
            seconds.append(time.monotonic() - started_at)
            skews.append(int(moment[0]) + int(moment[1]) / 1e6 - asked_at - seconds[-1] / 2)
        (server, memory) = await _exchange(link, "INFO server", "INFO memory")
    except ValueError as exc:
        words = f"{host} refuses the commands of this check: {exc}"
        yield Finding(Level.PROBLEM, SUBJECT, words, "Allow its user to run TIME and INFO (ACL: +time +info).")
        return
    except (RedisError, OSError) as exc:
        yield Finding(Level.PROBLEM, SUBJECT, f"{host} cannot be used: {reason(exc)}", _ADVICE)
        return
    finally:
        await link.close()
    info = {**_info(server), **_info(memory)}
    if "cluster" in (info.get("server_mode"), info.get("redis_mode")) and not is_node:
        yield Finding(Level.PROBLEM, SUBJECT, f"{host}: {IS_CLUSTER}", _CORRECT)
    for finding in _judge_store(host, seconds, skews, info):
        yield msgspec.structs.replace(finding, subject=SUBJECT)


async def _exchange(link: RedisConnection, *commands: str) -> list[Reply]:
    replies: list[Reply] = []
    await link.exchange([pack(*command.split()) for command in commands], replies)
    for reply in replies:
        if isinstance(reply, Exception):
            raise ValueError(str(reply))
    return replies


def _info(reply: bytes) -> dict[str, str]:
    """Read INFO's reply: lines of ``name:value``."""
    lines = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}


def _judge_store(host: str, seconds: list[float], skews: list[float], info: dict[str, str]) -> Iterator[Finding]:
    middle, slowest = statistics.median(seconds), max(seconds)
    words = f"{host}: {middle * 1000:.2f} ms per round trip, {slowest * 1000:.2f} ms for the slowest of {len(seconds)}"
    if middle > SLOW_SECONDS:
        yield Finding(
            Level.WARNING, "", words, "Every token waits for a round trip. Move the store closer, or check its load."
        )
    else:
        yield Finding(Level.OK, "", words)
    skew = statistics.median(skews)
    words = f"its clock differs from this machine's by {abs(skew):.3f} s"
    if abs(skew) > SKEW_SECONDS:
        advice = "Synchronise both clocks (NTP). Leases use only the store's clock; tickets and credentials do not."
        yield Finding(Level.WARNING, "", words, advice)
    else:
        yield Finding(Level.OK, "", words)
    name, least = ("valkey", MIN_VALKEY) if "valkey_version" in info else ("redis", MIN_REDIS)
    version = info.get(f"{name}_version", "0")
    if int(version.partition(".")[0]) < least:
        yield Finding(Level.PROBLEM, "", f"{name} {version}", "Use Redis 7 or Valkey 8, or a newer version.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        advice = "A full store would then drop conversations in mid-answer. Set maxmemory-policy to noeviction."
        yield Finding(Level.PROBLEM, "", f"its maxmemory-policy is {policy}", advice)
