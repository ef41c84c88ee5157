"""Checks whether a gateway with these settings can work, for ``manage.py doctor``; each finding says what to do."""

from __future__ import annotations

import asyncio
import enum
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from redis.exceptions import RedisError

from relay.agent.protocols.agent import PATH
from relay.agent.tls import NO_HANDSHAKE, NO_TLS, TlsFailed
from relay.agent.transport import UpstreamTransport
from relay.conf import PREFIX, conf
from relay.exceptions import StoreUnavailable
from relay.layers.redis.connection import RedisConnection, pack
from relay.layers.redis.failures import reason
from relay.layers.redis.wire import Reply
from relay.process.lifecycle import session_layer

LIMIT_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 3.0  # of a TLS connection to the agent
ROUND_TRIPS: Final = 20
SLOW_SECONDS: Final = 0.01  # every token waits for a round trip
SKEW_SECONDS: Final = 1.0  # tickets and credentials that expire can bear it
MIN_REDIS: Final = 7
MIN_VALKEY: Final = 8
_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_ABSENCES: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True):
    """The result of one check; ``advice`` is empty where there is nothing to do."""

    level: Level
    subject: str
    words: str
    advice: str = ""


async def examine(*, for_deployment: bool = False) -> AsyncIterator[Finding]:
    """Check everything; only the settings if one is wrong, because all else is built on them."""
    for finding in await sync_to_async(_settings)(for_deployment=for_deployment):
        yield finding
    if any(True for _ in conf.problems()):
        return
    async for finding in _agent():
        yield finding
    for index, url in enumerate(conf.redis_urls):
        async for finding in _store(f"store {index + 1}" if len(conf.redis_urls) > 1 else "store", url):
            yield finding
    async for finding in _layer():
        yield finding
    yield await sync_to_async(_database)()


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


# The agent.


async def _agent() -> AsyncIterator[Finding]:
    """Send the agent an empty message: no answer starts, but its status tells whether the agent compares keys."""
    host = urlsplit(conf.agent_url).netloc.rpartition("@")[2]
    transport = UpstreamTransport(HANDSHAKE_SECONDS)
    started_at = time.monotonic()
    try:
        status = await _status(transport, conf.internal_api_keys[0])
    except (httpx.HTTPError, TimeoutError) as exc:
        yield _judge_failure(exc, host)
        return
    milliseconds = (time.monotonic() - started_at) * 1000
    yield _judge_status(status, host, milliseconds)
    if status not in _REFUSALS and status not in _ABSENCES and await _status(transport, secrets.token_hex()) == status:
        words = "takes a message with any key"
        yield Finding(Level.WARNING, "agent", words, "Let it compare X-Internal-Auth, or keep others from it.")


async def _status(transport: UpstreamTransport, key: str) -> int:
    """Return the status of the agent's answer; the rest of the answer is not read."""
    headers = {"X-Internal-Auth": key, "Accept": "text/event-stream", "Content-Type": "application/json"}
    request = httpx.Request("POST", conf.agent_url + PATH, headers=headers, content=b"{}")
    async with asyncio.timeout(LIMIT_SECONDS):
        exchange = await transport.send(request)
    exchange.close()
    return exchange.status_code


def _judge_failure(exc: Exception, host: str) -> Finding:
    if not isinstance(exc, TlsFailed):
        words = f"no answer from {host} ({type(exc).__name__})"
        return Finding(Level.PROBLEM, "agent", words, f"Is it running? Is {PREFIX}AGENT_URL right, seen from here?")
    advice = "The system's authorities are trusted, or those in the file that SSL_CERT_FILE names."
    if str(exc) in (NO_TLS, NO_HANDSHAKE):
        advice = f"Write http:// in {PREFIX}AGENT_URL, or let the agent speak TLS."
    return Finding(Level.PROBLEM, "agent", f"{host} is there, but {exc}", advice)


def _judge_status(status: int, host: str, milliseconds: float) -> Finding:
    if status in _REFUSALS:
        advice = f"Give both the same key. The gateway sends the first of {PREFIX}INTERNAL_API_KEY."
        return Finding(Level.PROBLEM, "agent", f"refuses the gateway's key ({status})", advice)
    if status in _ABSENCES:
        advice = f"{PREFIX}AGENT_URL must be the part before {PATH}; a proxy must let POST through."
        return Finding(Level.PROBLEM, "agent", f"has no {PATH} ({status})", advice)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Finding(Level.PROBLEM, "agent", f"fails ({status})", "Its own log says why.")
    return Finding(Level.OK, "agent", f"{host} takes the key ({status} to an empty message, {milliseconds:.0f} ms)")


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
        cause = exc.reason if isinstance(exc, StoreUnavailable) else ""
        words = f"cannot be kept in the store: {cause or 'a script or an announcement did not come through'}"
        advice = "docs/deployment.md says what the store must be, and what its user must be allowed to do."
        yield Finding(Level.PROBLEM, "sessions", words, advice)
    else:
        milliseconds = (time.monotonic() - started_at) * 1000
        yield Finding(Level.OK, "sessions", f"are kept in the store; an announcement takes {milliseconds:.1f} ms")
    finally:
        await layer.close()


# The database.


def _database() -> Finding:
    if not conf.transcripts:
        return Finding(Level.OK, "database", f"is not asked for transcripts ({PREFIX}TRANSCRIPTS=false)")
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        words = f"does not answer ({type(exc).__name__})"
        advice = f"Is {PREFIX}DATABASE_URL right? Answers go on without it, but are not kept."
        return Finding(Level.PROBLEM, "database", words, advice)
    finally:
        connection.close()
    if missing:
        words = f"lacks migrations ({len(missing)}), so transcripts are lost"
        return Finding(Level.PROBLEM, "database", words, "Run: python manage.py migrate")
    return Finding(Level.OK, "database", f"{connection.vendor}, up to date")
