"""The agent's part of ``manage.py doctor``: does it take the requests of its protocol, and how does it answer one?"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from relay.agent import protocols
from relay.agent.choice import make_agent
from relay.agent.failures import Evidence, unreachable_cause
from relay.agent.http_request import HttpRequest
from relay.agent.protocols.base import AgentProtocol
from relay.agent.requests import agent_settings, turn_request
from relay.agent.tls import NO_CLIENT_CERT, NO_HANDSHAKE, NO_TLS, TlsFailed
from relay.agent.transport import UpstreamTransport
from relay.conf import PREFIX, conf
from relay.exceptions import RelayError, UpstreamEof
from relay.layers.values import Turn, new_id
from relay.management.finding import Finding, Level
from relay.protocol import frames, json_text
from relay.protocol.frames import Frame, FrameKind
from relay.protocol.request_headers import INTERNAL_KEY
from relay.tasks import first_completed

LIMIT_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 3.0  # of a TLS connection to the agent
_REFUSALS: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_ABSENCES: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


async def examine_agent() -> AsyncIterator[Finding]:
    """Send the agent its protocol's request with an empty body: it is not answered, but its key is checked."""
    agent = make_agent(conf.agent_protocol)
    if agent.is_here:
        yield Finding(Level.OK, "agent", f"{conf.agent_protocol} is a function in this process")
        return
    protocol = protocols.load(conf.agent_protocol)
    request = _empty_request(protocol)
    host = urlsplit(conf.agent_url).netloc.rpartition("@")[2]
    transport = UpstreamTransport(HANDSHAKE_SECONDS)
    started_at = time.monotonic()
    try:
        status = await _status(transport, request)
    except (httpx.HTTPError, TimeoutError) as exc:
        yield _judge_failure(exc, host)
        return
    milliseconds = (time.monotonic() - started_at) * 1000
    yield _judge_status(status, host, unquote(request.target.path.partition("?")[0]), milliseconds, protocol)
    if not protocol.is_own or status in _REFUSALS or status in _ABSENCES:
        return
    request.set({INTERNAL_KEY: secrets.token_hex()})
    if await _status(transport, request) == status:
        words = "accepts messages with any key"
        yield Finding(
            Level.WARNING, "agent", words, f"Make it check {INTERNAL_KEY}, or keep other clients away from it."
        )


async def say(words: str, show: Callable[[Frame], None]) -> Finding:
    """Ask the agent once, as the gateway would in a session of its own, and show each frame of its answer."""
    turn = _turn(words)
    agent = make_agent(conf.agent_protocol)
    answer = agent.ask(turn)
    last = frames.error(turn.turn_id, UpstreamEof())

    async def read() -> None:
        nonlocal last
        async with aclosing(answer.batches()) as batches:
            async for batch in batches:
                for last in batch:
                    show(last)

    try:
        await first_completed(read(), answer.watch_silence())
    except RelayError as exc:
        last = frames.error(turn.turn_id, exc)
        show(last)
    finally:
        await agent.close()
    return _judge_answer(last, answer.evidence)


def _judge_answer(last: Frame, evidence: Evidence) -> Finding:
    if last.kind is FrameKind.FINAL:
        return Finding(Level.OK, "agent", "answers")
    reason = evidence.reason(json_text.decode(last.body)["content"])
    response = f"{evidence.status} {evidence.content_type}".strip() if evidence.status else "no response"
    return Finding(Level.PROBLEM, "agent", f"does not answer ({response}): {reason}")


def _turn(words: str) -> Turn:
    message = {"type": "user_message", "content": words}
    return Turn(session_id=f"doctor-{new_id()}", turn_id=new_id(), lease_id=new_id(), message=message)


def _empty_request(protocol: AgentProtocol) -> HttpRequest:
    turn = _turn("")
    asked = protocol.request(turn, (), agent_settings())
    return turn_request(protocol, turn, asked._replace(body={}))


async def _status(transport: UpstreamTransport, request: HttpRequest) -> int:
    """Return the status of the agent's answer; the rest of the answer is not read."""
    async with asyncio.timeout(LIMIT_SECONDS):
        exchange = await transport.send(request)
    exchange.close()
    return exchange.status_code


def _judge_failure(exc: Exception, host: str) -> Finding:
    if not isinstance(exc, TlsFailed):
        words = f"no answer from {host} ({unreachable_cause(exc)})"
        return Finding(
            Level.PROBLEM, "agent", words, f"Is it running? Is {PREFIX}AGENT_URL right, as seen from this machine?"
        )
    advice = f"The gateway trusts the system's authorities, those in SSL_CERT_FILE, and those in {PREFIX}AGENT_CA_FILE."
    if str(exc) in (NO_TLS, NO_HANDSHAKE):
        advice = f"Use http:// in {PREFIX}AGENT_URL, or turn on TLS at the agent."
    if str(exc) == NO_CLIENT_CERT:
        advice = f"{PREFIX}AGENT_CLIENT_CERT names the certificate that the gateway presents."
    return Finding(Level.PROBLEM, "agent", f"{host} responds, but {exc}", advice)


def _judge_status(status: int, host: str, path: str, milliseconds: float, protocol: AgentProtocol) -> Finding:
    if status in _REFUSALS:
        if protocol.is_own:
            advice = f"Set the same key on both sides. The gateway sends the first key of {PREFIX}INTERNAL_API_KEY."
        else:
            advice = f"The gateway sends {PREFIX}AGENT_API_KEY as a bearer credential, and {PREFIX}AGENT_HEADERS."
        return Finding(Level.PROBLEM, "agent", f"refuses the gateway's key ({status})", advice)
    if status in _ABSENCES:
        advice = f"{PREFIX}AGENT_URL must be the part before {path}; a proxy must let POST through."
        if not protocol.is_own:
            advice += f" {PREFIX}AGENT_PATH changes the path."
        return Finding(Level.PROBLEM, "agent", f"has no {path} ({status})", advice)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Finding(Level.PROBLEM, "agent", f"fails ({status})", "The agent's own log says why.")
    return Finding(
        Level.OK, "agent", f"{host} accepts the key (status {status} for an empty message, {milliseconds:.0f} ms)"
    )
