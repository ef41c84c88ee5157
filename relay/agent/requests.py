"""The HTTP requests to an agent: those of its protocol, with the headers and the keys of the settings."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from typing import Final

import httpx

from relay.agent.failures import MAX_WORDS_CHARACTERS
from relay.agent.http_request import HttpRequest
from relay.agent.protocols.base import (
    AgentProtocol,
    AgentRequest,
    AgentSettings,
)
from relay.agent.redaction import redact
from relay.conf import conf
from relay.conf.parsers import Headers
from relay.layers.values import Turn
from relay.protocol import json_text
from relay.protocol.request_headers import IDEMPOTENCY_KEY, INTERNAL_KEY, REQUEST_ID, TRACEPARENT

USER_AGENT: Final = f"python-httpx/{httpx.__version__}"
_OF_EACH: Final = {"User-Agent": USER_AGENT, "Accept": "text/event-stream", "Accept-Encoding": "identity"}
MAX_CONTENT_TYPES: Final = 16  # remembered
MIN_SECRET_CHARACTERS: Final = 6  # of a header's value or a password: words as short as "gold" are no secrets


def agent_settings() -> AgentSettings:
    """Return what a protocol may need of the settings."""
    return AgentSettings(
        path=conf.agent_path,
        model=conf.agent_model,
        system_prompt=conf.agent_system_prompt,
        is_nested=conf.agent_message == "nested",
    )


def turn_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest) -> HttpRequest:
    """Return the HTTP request that asks the agent for a turn, once: the turn's id is its idempotency key."""
    return _http_request(protocol, turn, request, {IDEMPOTENCY_KEY: turn.turn_id, REQUEST_ID: turn.turn_id})


def rejoin_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest) -> HttpRequest:
    """Return the HTTP request that continues with a turn's answer."""
    return _http_request(protocol, turn, request, {REQUEST_ID: turn.turn_id})


def stop_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest) -> HttpRequest:
    """Return the HTTP request that stops a turn."""
    return _http_request(protocol, turn, request, {REQUEST_ID: turn.turn_id})


def redact_answer(text: str) -> str:
    """Remove addresses, traces and credentials from the agent's words, above all those that the gateway sends."""
    return redact(text, _secrets(conf.internal_api_keys, conf.agent_api_key, conf.agent_url, conf.agent_headers))


@lru_cache(MAX_CONTENT_TYPES)
def redact_content_type(text: str) -> str:
    """Do the same to the type of an answer; nearly all have the same one."""
    return redact_answer(text)[:MAX_WORDS_CHARACTERS]


def _http_request(protocol: AgentProtocol, turn: Turn, request: AgentRequest, names: dict[str, str]) -> HttpRequest:
    return HttpRequest(
        request.method,
        conf.agent_url + request.path,
        _OF_EACH,
        dict(conf.agent_headers),
        {} if request.body is None else {"Content-Type": "application/json"},
        names,
        request.headers,
        _credentials(turn.subject, is_own=protocol.is_own),
        {} if turn.traceparent is None else {TRACEPARENT: turn.traceparent},
        content=b"" if request.body is None else json_text.encode(request.body).encode(),
    )


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


@lru_cache(1)
def _secrets(keys: tuple[str, ...], api_key: str, url: str, headers: Headers) -> list[str]:
    """Return the credentials in the settings; a whole one before its parts."""
    secrets = {*keys, *([api_key] if api_key else [])}
    address = httpx.URL(url)
    if len(address.password) >= MIN_SECRET_CHARACTERS:
        secrets.add(address.password)
        secrets.add(b64encode(f"{address.username}:{address.password}".encode()).decode())  # as HTTP Basic sends it
    for _, value in headers:
        secrets.update(text for text in (value, *value.split()) if len(text) >= MIN_SECRET_CHARACTERS)
    return sorted(secrets, key=len, reverse=True)
