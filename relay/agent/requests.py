"""The HTTP requests to an agent: those of its protocol, with the headers and the keys of the settings."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Final

import httpx

from relay.agent.protocols.base import AgentProtocol, AgentRequest, AgentSettings
from relay.agent.redaction import redact
from relay.conf import conf
from relay.layers.values import Turn
from relay.protocol import json_text
from relay.protocol.request_headers import IDEMPOTENCY_KEY, INTERNAL_KEY, REQUEST_ID, TRACEPARENT

USER_AGENT: Final = f"python-httpx/{httpx.__version__}"
MIN_SECRET_CHARACTERS: Final = 6  # of a header's value or a password: words as short as "gold" are no secrets


def agent_settings() -> AgentSettings:
    """Return what a protocol may need of the settings."""
    return AgentSettings(
        path=conf.agent_path,
        model=conf.agent_model,
        system_prompt=conf.agent_system_prompt,
        is_nested=conf.agent_message == "nested",
    )


def turn_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest) -> httpx.Request:
    """Return the HTTP request that asks the agent for a turn, once: the turn's id is its idempotency key."""
    return _http_request(protocol, turn, request, {IDEMPOTENCY_KEY: turn.turn_id, REQUEST_ID: turn.turn_id})


def stop_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest) -> httpx.Request:
    """Return the HTTP request that stops a turn."""
    return _http_request(protocol, turn, request, {REQUEST_ID: turn.turn_id})


def redact_answer(text: str) -> str:
    """Remove addresses, traces and credentials from the agent's words, above all those that the gateway sends."""
    return redact(text, sorted(set(_secrets()), key=len, reverse=True))  # a whole one before its parts


def _http_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest, names: dict[str, str]) -> httpx.Request:
    headers = httpx.Headers({"User-Agent": USER_AGENT, "Accept": "text/event-stream", "Accept-Encoding": "identity"})
    headers.update(dict(conf.agent_headers))
    headers["Connection"] = "close"
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    headers.update(names)
    headers.update(dict(request.headers))
    headers.update(_credentials(turn.subject, is_own=protocol.is_own))
    if turn.traceparent is not None:
        headers[TRACEPARENT] = turn.traceparent
    content = b"" if request.body is None else json_text.encode(request.body).encode()
    return httpx.Request(request.method, conf.agent_url + request.path, headers=headers, content=content)


def own_headers(subject: str | None, *, is_own: bool) -> dict[str, str]:
    """Return the headers of the settings, the credentials among them, for a request that is no turn's."""
    return {**dict(conf.agent_headers), **_credentials(subject, is_own=is_own)}


def _credentials(subject: str | None, *, is_own: bool) -> dict[str, str]:
    """Return the gateway's keys, of which the internal one is for agents of its own protocol, and the sender."""
    headers = {}
    if is_own:
        headers[INTERNAL_KEY] = conf.internal_api_keys[0]
    if conf.agent_api_key:
        headers["Authorization"] = f"Bearer {conf.agent_api_key}"
    if subject is not None:
        headers["X-Subject"] = subject
    return headers


def _secrets() -> Iterator[str]:
    yield from conf.internal_api_keys
    if conf.agent_api_key:
        yield conf.agent_api_key
    address = httpx.URL(conf.agent_url)
    if len(address.password) >= MIN_SECRET_CHARACTERS:
        yield address.password
        yield b64encode(f"{address.username}:{address.password}".encode()).decode()  # as HTTP Basic sends it
    for _, value in conf.agent_headers:
        yield from (text for text in (value, *value.split()) if len(text) >= MIN_SECRET_CHARACTERS)
