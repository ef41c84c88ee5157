"""A host that compresses its answers: streams stay as they are, in pieces that a client can read as they come."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler

from relay.routing import application as make_application
from tests.api.test_agent_pass import RawAgent, raw_agent
from tests.http_clients import API, HttpClient

__all__ = ["raw_agent"]

ACCEPTS = {"Accept-Encoding": "gzip, br"}
TEXT = "A long answer. " * 100
USER_MESSAGE = {"id": "m", "role": "user", "content": "Hi", "parts": [{"type": "text", "text": "Hi"}]}
RUN = {"threadId": "t", "runId": "r", "state": {}, "tools": [], "context": [], "forwardedProps": {}}
STREAMS = {
    "event stream": ("GET", f"{API}/s/events", None),
    "openai": ("POST", "/v1/chat/completions", {"model": "agent", "stream": True, "messages": [USER_MESSAGE]}),
    "ag-ui": ("POST", "/api/v1/ag-ui", {**RUN, "messages": [USER_MESSAGE]}),
    "ai-sdk": ("POST", "/api/v1/ai-sdk/chat", {"id": "c", "messages": [USER_MESSAGE]}),
}


@pytest.fixture
def http(application: Any, settings: Any, configure: Callable[..., None]) -> HttpClient:
    configure(ADAPTERS="openai,ag-ui,ai-sdk")
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    return HttpClient(make_application(http=ASGIHandler()))


@pytest.mark.parametrize(("method", "path", "body"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_is_not_said_to_be_compressed(http, method, path, body):
    async with http.open(method, path, body=body, headers=ACCEPTS) as (answer, chunks):
        assert answer.status == 200
        assert "content-encoding" not in answer.headers
        assert (await anext(chunks)).endswith(b"\n\n"), "a whole event"


async def test_a_body_that_the_agent_streams_is_not_said_to_be_compressed(http, raw_agent: RawAgent):
    raw_agent.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1500\r\n\r\n" + TEXT.encode()
    answer = await http.get("/agents", headers=ACCEPTS)
    assert "content-encoding" not in answer.headers
    assert answer.body.decode() == TEXT


async def test_what_is_no_stream_is_compressed_as_the_host_wants_it(http):
    answer = await http.get("/api/v1/openapi.json", headers=ACCEPTS)
    assert answer.headers["content-encoding"] == "gzip"
    assert b"openapi" in gzip.decompress(answer.body)
