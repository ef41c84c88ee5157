"""The gateway's paths in another project, without the gateway's middleware: each view asks for the key itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.urls import URLPattern, URLResolver, get_resolver

from relay.adapters import paths as adapters
from relay.process import lifecycle
from tests.http_clients import HttpClient

OPEN = {"/health", "/ready", "/"}  # all that anybody may have: probes, and the chat page where it is switched on
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def paths(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    for pattern in patterns:
        path = before + re.sub(
            "<(session_id:session_id|path:chat_id|path:rest|agent_path:path)>", "s", str(pattern.pattern)
        )
        if isinstance(pattern, URLResolver):
            yield from paths(pattern.url_patterns, path)
        else:
            assert "<" not in path, f"say what stands in the place of the parameter of {path}"
            yield path


ADAPTERS = sorted(paths(adapters.urlpatterns))
ALL = sorted(set(paths(get_resolver("relay.urls").url_patterns)))


@pytest.fixture
def embedded(application: Any, settings: Any) -> HttpClient:
    """The paths at the root of a project that has no middleware at all."""
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = "relay.urls"
    return HttpClient(ASGIHandler())


def test_every_path_is_in_the_table():
    assert {"/metrics", "/api/v1/openapi.json", "/api/v1/sessions/s/events", "/api/v1/drain"} | OPEN <= set(ALL)


@pytest.mark.parametrize("path", ALL)
async def test_without_the_key_nobody_gets_what_is_not_open_to_all(embedded, configure, path):
    configure(CHAT_PAGE="true", AGENT_PASS="/s")
    for method in METHODS:
        for key in (None, "wrong"):
            status = (await embedded.request(method, path, key=key)).status
            refusals = {404, 405} if path in {*OPEN, *ADAPTERS, "/api/v1/"} else {401, 405}
            assert status in refusals or (path in OPEN and method in ("GET", "HEAD") and status == 200), (
                method,
                status,
            )


@pytest.mark.parametrize("path", ADAPTERS)
async def test_without_the_key_other_front_ends_get_nothing_either(embedded, configure, path):
    configure(ADAPTERS="ai-sdk,ag-ui,openai")
    messages = [{"id": "m", "role": "user", "content": "Hi"}]
    body = {"id": "s", "threadId": "s", "runId": "r", "messages": messages}
    for method in METHODS:
        for key in (None, "wrong"):
            assert (await embedded.request(method, path, body=body, key=key)).status in {401, 405, 404}
    assert await (await lifecycle.current()).layer.get("s") is None


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/openapi.json", "/api/v1/sessions"])
async def test_with_the_key_they_answer(embedded, path):
    assert (await embedded.get(path)).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/openapi.json"])
async def test_what_a_setting_opens_is_open(embedded, configure, settings, path):
    configure(METRICS_OPEN="true")
    settings.DEBUG = True
    assert (await embedded.get(path, key=None)).status == 200


async def test_the_chat_page_is_there_where_it_is_switched_on_only(embedded, configure):
    assert (await embedded.get("/", key=None)).status == 404
    configure(CHAT_PAGE="true")
    assert (await embedded.get("/", key=None)).status == 200
