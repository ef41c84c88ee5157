"""Checks whether a gateway with these settings can work, for ``manage.py doctor``; each finding says what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import httpx
import jwt
from asgiref.sync import sync_to_async
from django.core.checks import run_checks
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from relay.agent.failures import unreachable_cause
from relay.conf import PREFIX, conf, is_own_project
from relay.database import failures
from relay.exceptions import StoreUnavailable
from relay.management.doctor_agent import examine_agent
from relay.management.finding import Finding, Level
from relay.management.terminal import counted
from relay.policies.key_set import fetch_keys
from relay.process.lifecycle import session_layer

LIMIT_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.1


async def examine(*, for_deployment: bool = False) -> AsyncIterator[Finding]:
    """Check everything; only the settings if one is wrong, because all else is built on them."""
    for finding in await sync_to_async(_settings)(for_deployment=for_deployment):
        yield finding
    if any(True for _ in conf.problems()):
        return
    async for finding in examine_agent():
        yield finding
    async for finding in _store():
        yield finding
    async for finding in _layer():
        yield finding
    yield await sync_to_async(_database)()
    if conf.ws_auth == "jwt":
        yield await _identity_provider()


# The settings.


def _settings(*, for_deployment: bool) -> list[Finding]:
    """Run the system checks."""
    found = [
        message
        for message in run_checks(databases=[], include_deployment_checks=for_deployment)
        if not message.is_silenced()
    ]
    if not found:
        return [Finding(Level.OK, "settings", "no problems found by the system checks")]
    return [
        Finding(
            Level.PROBLEM if message.is_serious() else Level.WARNING,
            f"settings ({message.id})",
            str(message.msg),
            str(message.hint or ""),
        )
        for message in found
    ]


# The store, and the session layer.


async def _store() -> AsyncIterator[Finding]:
    if not conf.redis_url:
        return
    from relay.management.doctor_store import examine_store  # its client is an extra

    async for finding in examine_store(conf.redis_url):
        yield finding


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
            await _patiently(layer.check)
            started_at = time.monotonic()
            await _patiently(layer.check_announcements)
    except (StoreUnavailable, TimeoutError) as exc:
        cause = (isinstance(exc, StoreUnavailable) and exc.reason) or "a script or an announcement got no reply"
        words = f"cannot be kept in the store: {cause}"
        advice = "docs/deployment.md describes the requirements of the store and the permissions of its user."
        yield Finding(Level.PROBLEM, "sessions", words, advice)
    else:
        milliseconds = (time.monotonic() - started_at) * 1000
        yield Finding(Level.OK, "sessions", f"are kept in the store; an announcement takes {milliseconds:.1f} ms")
    finally:
        await layer.close()


async def _patiently(check: Callable[[], Awaitable[None]]) -> None:
    """Make a check, again where it only took too long: it has the patience of a probe, which is less than ours."""
    while True:
        try:
            await check()
        except StoreUnavailable as exc:
            if exc.reason:
                raise
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return


# The identity provider.


async def _identity_provider() -> Finding:
    """Fetch its keys once, as the policy does."""
    words = "provides no keys that can sign tokens (RS256 or ES256)"
    try:
        if keys := await fetch_keys(conf.jwks_url):
            return Finding(Level.OK, "identity provider", f"provides {counted(len(keys), 'key')} that can sign tokens")
    except httpx.HTTPStatusError as exc:
        words = f"does not provide its keys (HTTP {exc.response.status_code})"
    except (httpx.HTTPError, TimeoutError) as exc:
        words = f"does not provide its keys ({_innermost(exc)})"
    except (ValueError, jwt.PyJWTError) as exc:
        words += f": {type(exc).__name__}"
    advice = f"Is {PREFIX}JWKS_URL right, as seen from this machine? No new client is admitted without the keys."
    return Finding(Level.PROBLEM, "identity provider", words, advice)


def _innermost(failure: BaseException) -> str:
    """Name the cause of a failure; httpx wraps the errors of its transport several times."""
    while (cause := failure.__cause__ or failure.__context__) is not None:
        failure = cause
    return unreachable_cause(failure)


# The database.


def _database() -> Finding:
    if not conf.transcripts:
        return Finding(Level.OK, "database", f"is not used for transcripts ({PREFIX}TRANSCRIPTS=false)")
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        words = f"cannot be used: {failures.reason(exc)}"
        setting = f"{PREFIX}DATABASE_URL" if is_own_project() else "DATABASES"
        advice = f"Is {setting} right? Answers go on without it, but are not kept."
        return Finding(Level.PROBLEM, "database", words, advice)
    finally:
        connection.close()
    if missing:
        words = f"lacks {counted(len(missing), 'migration')}, so transcripts are lost"
        return Finding(Level.PROBLEM, "database", words, "Run: python manage.py migrate")
    return Finding(Level.OK, "database", f"{connection.vendor}, up to date")
