"""Checks whether a gateway with these settings can work, for ``manage.py doctor``; each finding says what to do."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from typing import Final
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from redis.exceptions import RedisError

from relay.agent.failures import unreachable_cause
from relay.conf import PREFIX, conf
from relay.database import failures
from relay.exceptions import StoreUnavailable
from relay.layers.redis.connection import RedisConnection, pack
from relay.layers.redis.failures import reason
from relay.layers.redis.wire import Reply
from relay.management.doctor_agent import examine_agent
from relay.management.finding import Finding, Level
from relay.management.terminal import counted
from relay.policies.key_set import fetch_keys
from relay.process.lifecycle import session_layer

LIMIT_SECONDS: Final = 5.0
ROUND_TRIPS: Final = 20
SLOW_SECONDS: Final = 0.01  # every token waits for a round trip
SKEW_SECONDS: Final = 1.0  # tickets and credentials that expire can bear it
MIN_REDIS: Final = 7
MIN_VALKEY: Final = 8


async def examine(*, for_deployment: bool = False) -> AsyncIterator[Finding]:
    """Check everything; only the settings if one is wrong, because all else is built on them."""
    for finding in await sync_to_async(_settings)(for_deployment=for_deployment):
        yield finding
    if any(True for _ in conf.problems()):
        return
    async for finding in examine_agent():
        yield finding
    for index, url in enumerate(conf.redis_urls):
        async for finding in _store(f"store {index + 1}" if len(conf.redis_urls) > 1 else "store", url):
            yield finding
    async for finding in _layer():
        yield finding
    yield await sync_to_async(_database)()
    if conf.ws_auth == "jwt":
        yield await _identity_provider()


# The settings.


def _settings(*, for_deployment: bool) -> list[Finding]:
    """Run the system checks."""
    found = [message for message in run_checks(include_deployment_checks=for_deployment) if not message.is_silenced()]
    if not found:
        return [Finding(Level.OK, "settings", "the system checks find nothing")]
    return [
        Finding(
            Level.PROBLEM if message.is_serious() else Level.WARNING,
            f"settings ({message.id})",
            str(message.msg),
            str(message.hint or ""),
        )
        for message in found
    ]


# The store.


async def _store(subject: str, url: str) -> AsyncIterator[Finding]:
    link = RedisConnection(url, timeout_seconds=LIMIT_SECONDS)
    host = urlsplit(url).netloc.rpartition("@")[2] or urlsplit(url).path
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
        yield Finding(Level.PROBLEM, subject, words, "Let its user run TIME and INFO (ACL: +time +info).")
        return
    except (RedisError, OSError) as exc:
        words = f"{host} cannot be used: {reason(exc)}"
        yield Finding(Level.PROBLEM, subject, words, f"Is it running? Is {PREFIX}REDIS_URL right, with its password?")
        return
    finally:
        await link.close()
    for finding in _judge_store(host, seconds, skews, {**_info(server), **_info(memory)}):
        yield msgspec.structs.replace(finding, subject=subject)


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
    words = f"{host}: {middle * 1000:.2f} ms a round trip, {slowest * 1000:.2f} ms the slowest of {len(seconds)}"
    if middle > SLOW_SECONDS:
        yield Finding(Level.WARNING, "", words, "Every token waits for one. Bring the store nearer; look at its load.")
    else:
        yield Finding(Level.OK, "", words)
    skew = statistics.median(skews)
    words = f"its clock and this machine's are {abs(skew):.3f} s apart"
    if abs(skew) > SKEW_SECONDS:
        advice = "Let both keep time (NTP). Leases go by the store's clock alone; tickets and credentials do not."
        yield Finding(Level.WARNING, "", words, advice)
    else:
        yield Finding(Level.OK, "", words)
    name, least = ("valkey", MIN_VALKEY) if "valkey_version" in info else ("redis", MIN_REDIS)
    version = info.get(f"{name}_version", "0")
    if int(version.partition(".")[0]) < least:
        yield Finding(Level.PROBLEM, "", f"{name} {version}", "Redis 7 or Valkey 8 is the oldest that works.")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        advice = "A full store then forgets conversations in mid-answer. Set maxmemory-policy to noeviction."
        yield Finding(Level.PROBLEM, "", f"its maxmemory-policy is {policy}", advice)


async def _layer() -> AsyncIterator[Finding]:
    """Write, announce and receive, as a gateway does."""
    layer = session_layer()
    name = type(layer).__name__
    if not layer.survives_process:
        yield Finding(Level.OK, "sessions", f"are kept in the gateway's own process ({name}), and end with it")
        return
    try:
        await layer.start()
        async with asyncio.timeout(LIMIT_SECONDS):
            await layer.check()
            started_at = time.monotonic()
            await layer.check_announcements()
    except (StoreUnavailable, TimeoutError) as exc:
        cause = (isinstance(exc, StoreUnavailable) and exc.reason) or "a script or an announcement did not come through"
        words = f"cannot be kept in the store: {cause}"
        advice = "docs/deployment.md says what the store must be, and what its user must be allowed to do."
        yield Finding(Level.PROBLEM, "sessions", words, advice)
    else:
        milliseconds = (time.monotonic() - started_at) * 1000
        yield Finding(Level.OK, "sessions", f"are kept in the store; an announcement takes {milliseconds:.1f} ms")
    finally:
        await layer.close()


# The identity provider.


async def _identity_provider() -> Finding:
    """Fetch its keys once, as the policy does."""
    words = "gives no keys that may sign tokens (RS256 or ES256)"
    try:
        if keys := await fetch_keys(conf.jwks_url):
            return Finding(Level.OK, "identity provider", f"gives {counted(len(keys), 'key')} that may sign tokens")
    except httpx.HTTPStatusError as exc:
        words = f"does not give its keys (HTTP {exc.response.status_code})"
    except (httpx.HTTPError, TimeoutError) as exc:
        words = f"does not give its keys ({_innermost(exc)})"
    except (ValueError, jwt.PyJWTError) as exc:
        words += f": {type(exc).__name__}"
    advice = f"Is {PREFIX}JWKS_URL right, seen from here? Until the keys are there, no new client is admitted."
    return Finding(Level.PROBLEM, "identity provider", words, advice)


def _innermost(failure: BaseException) -> str:
    """Name the cause of a failure; httpx wraps the errors of its transport several times."""
    while (cause := failure.__cause__ or failure.__context__) is not None:
        failure = cause
    return unreachable_cause(failure)


# The database.


def _database() -> Finding:
    if not conf.transcripts:
        return Finding(Level.OK, "database", f"is not asked for transcripts ({PREFIX}TRANSCRIPTS=false)")
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        words = f"cannot be used: {failures.reason(exc)}"
        advice = f"Is {PREFIX}DATABASE_URL right? Answers go on without it, but are not kept."
        return Finding(Level.PROBLEM, "database", words, advice)
    finally:
        connection.close()
    if missing:
        words = f"lacks migrations ({len(missing)}), so transcripts are lost"
        return Finding(Level.PROBLEM, "database", words, "Run: python manage.py migrate")
    return Finding(Level.OK, "database", f"{connection.vendor}, up to date")
